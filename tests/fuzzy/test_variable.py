import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.errors import OperationFailed
from ktrdr.fuzzy.shape import Shape
from ktrdr.fuzzy.variable import FuzzyVariable, fit_partition

NAMES = ("lowest", "low", "middle", "high", "highest")
MIXED = FuzzyVariable(
    "rsi",
    ("a", "b", "c"),
    (Shape("trapezoid", (0, 0, 25, 40)), Shape("gaussian", (50, 8)), Shape("triangle", (60, 80, 100))),
)


@settings(max_examples=40, deadline=None)
@given(
    n_sets=st.integers(2, 5),
    training=st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=60, unique=True),
    values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40),
)
def test_a_partition_covers_every_value_with_memberships_that_sum_to_one(n_sets: int, training, values):
    variable = fit_partition("trend", NAMES[:n_sets], np.array(training))
    memberships = variable.memberships(np.array(values))
    assert memberships.shape == (len(values), n_sets)
    assert memberships.min() >= 0
    np.testing.assert_allclose(memberships.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    assert ((memberships > 0).sum(axis=1) <= 2).all()


def test_peaks_lie_at_the_middle_of_equal_shares_of_the_training_values():
    training = np.random.default_rng(5).permutation(np.linspace(0, 1, 1001))
    variable = fit_partition("trend", ("low", "middle", "high"), training)
    at_peaks = variable.memberships(np.array([1 / 6, 1 / 2, 5 / 6]))
    np.testing.assert_allclose(at_peaks, np.eye(3), atol=1e-12)
    assert variable.memberships(np.array([-5.0, 6.0])).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_a_partition_whose_peaks_coincide_is_refused_by_name():
    mostly_zero = np.r_[np.zeros(90), np.arange(10.0)]
    with pytest.raises(OperationFailed, match="'low' and 'middle' of fuzzy set 'trend' coincide at 0") as failure:
        fit_partition("trend", ("low", "middle", "high"), mostly_zero)
    assert failure.value.reason == "fuzzy_set_degenerate"


@pytest.mark.parametrize(("names", "values"), [(("one",), [1.0, 2.0]), (NAMES, []), (NAMES, [1.0, np.nan])])
def test_a_partition_needs_two_sets_and_finite_training_values(names, values):
    with pytest.raises(ValueError, match="need >= 2 sets and finite training values"):
        fit_partition("trend", names, np.array(values))


def test_a_variable_survives_json_exactly():
    fitted = fit_partition("trend", NAMES, np.random.default_rng(1).normal(size=500))
    for variable in (MIXED, fitted):
        assert FuzzyVariable.from_dict(json.loads(json.dumps(variable.to_dict(), allow_nan=False))) == variable


@pytest.mark.parametrize(
    "document", [{}, {"name": "rsi", "sets": {"a": {"shape": "triangle"}}}, {"name": "rsi", "sets": {}}]
)
def test_a_document_that_is_no_variable_is_refused(document):
    with pytest.raises(ValueError, match=r"need"):
        FuzzyVariable.from_dict(document)


def test_memberships_of_a_value_do_not_depend_on_its_neighbours():
    values = np.random.default_rng(2).normal(50, 30, 1003)
    whole = MIXED.memberships(values)
    for stop in (1, 2, 3, 7, 500, 1001):
        assert MIXED.memberships(values[:stop]).tobytes() == whole[:stop].tobytes()
        assert MIXED.memberships(values[stop:]).tobytes() == whole[stop:].tobytes()
