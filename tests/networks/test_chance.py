import numpy as np
import pytest

from ktrdr.networks.chance import NetworkKey, draw_kept_units

KEY = NetworkKey(7, (2, 1))
OTHERS = [NetworkKey(8, (2, 1)), NetworkKey(7, (1, 1)), NetworkKey(7, (2, 0))]


def test_an_order_is_a_permutation_that_epoch_seed_and_place_change():
    order = KEY.row_order(3, 500)
    assert sorted(order) == list(range(500))
    assert np.array_equal(order, NetworkKey(7, (2, 1)).row_order(3, 500))
    assert not np.array_equal(order, KEY.row_order(4, 500))
    for other in OTHERS:
        assert not np.array_equal(order, other.row_order(3, 500))


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.8])
def test_dropout_drops_its_share_and_keeps_the_mean(dropout):
    kept = draw_kept_units([KEY.dropout_bits(0), OTHERS[0].dropout_bits(0)], 256, (32, 16), dropout)
    assert [layer.shape for layer in kept] == [(2, 256, 32), (2, 256, 16)]
    for layer in kept:
        for network in layer.numpy():
            n_units = network.size
            dropped = float((network == 0).mean())
            assert dropped == pytest.approx(dropout, abs=4 * np.sqrt(dropout * (1 - dropout) / n_units))
            assert np.unique(network)[-1] == pytest.approx(1 / (1 - dropout), rel=1e-4)
        assert not np.array_equal(layer[0], layer[1])


def test_successive_batches_drop_other_units():
    source = KEY.dropout_bits(0)
    first, second = (draw_kept_units([source], 64, (8,), 0.5) for _ in range(2))
    assert not np.array_equal(first[0], second[0])


def test_no_dropout_draws_nothing():
    assert draw_kept_units([KEY.dropout_bits(0)], 64, (8,), 0.0) is None
