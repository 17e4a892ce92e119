import json

import numpy as np

from ktrdr.training.scaling import FeatureScaling


def test_fitted_rows_become_standard_and_a_constant_feature_zero():
    generator = np.random.default_rng(1)
    features = generator.normal([3.0, -2.0, 0.1], [2.0, 0.01, 0.0], (400, 3))
    scaled = FeatureScaling.fit(features).apply(features)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 1, 0], atol=1e-6)
    assert np.abs(scaled[:, 2]).max() < 1e-6


def test_a_scaling_survives_json_exactly():
    features = np.random.default_rng(2).random((50, 4))
    scaling = FeatureScaling.fit(features)
    again = FeatureScaling.from_dict(json.loads(json.dumps(scaling.to_dict())))
    assert np.array_equal(again.apply(features), scaling.apply(features))
