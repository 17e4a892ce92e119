"""Planted leaks are all found, each at its place, and nothing that ktrdr offers is suspected."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import filtfilt

from ktrdr.errors import InvalidInput, OperationFailed
from ktrdr.evaluation import firewall
from ktrdr.evaluation.firewall import find_feature_leak, find_label_leak, find_leak, recipe_of, refuse_leaks
from ktrdr.features.inputs import FeatureInputs
from ktrdr.indicators.catalogue import CATALOGUE
from ktrdr.labels.label import Labels
from ktrdr.market.bars import Bars
from ktrdr.market.resample import resample
from ktrdr.market.timeframe import HOUR_MS, Timeframe
from ktrdr.strategy.validation import validate_strategy
from ktrdr.training.pool import gather_rows, pool_up
from ktrdr.training.purging import RowTimes, require_purged
from ktrdr.training.splits import TrainingRows, block_bounds, walk_forward

HORIZON = 12
LABELS = {
    "forward": {"type": "forward_return", "horizon": HORIZON},
    "barrier": {"type": "triple_barrier", "horizon": HORIZON, "take_profit": 2.0, "stop_loss": 2.0},
    "move": {"type": "first_move", "threshold": 2.0},
}


def walk(n_bars: int) -> Bars:
    rng = np.random.default_rng(5)
    timestamp = np.arange(n_bars, dtype=np.int64) * HOUR_MS + 1_500_001_200_000 // HOUR_MS * HOUR_MS
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.005, n_bars)))
    opened = np.r_[100.0, close[:-1]] * np.exp(rng.normal(0, 0.001, n_bars))
    return Bars(
        symbol="TEST", timeframe=Timeframe.H1, snapshot="0" * 64, timestamp=timestamp, known_at=timestamp + HOUR_MS,
        session_day=(timestamp // (24 * HOUR_MS)).astype(np.int32), open=opened, close=close,
        high=np.maximum(opened, close) * 1.001, low=np.minimum(opened, close) * 0.999,
        volume=rng.lognormal(3, 1, n_bars),
    )  # fmt: skip


BARS = walk(2000)


def strategy(kind="RSI", labels="forward", timeframe=None):
    outputs = CATALOGUE[kind].outputs
    indicator = {"type": kind} | ({} if timeframe is None else {"timeframe": timeframe})
    relative = {"relative_to": "close"} if CATALOGUE[kind].unit == "price" else {}
    return validate_strategy(
        {
            "schema": 1,
            "name": "for_the_firewall",
            "hypothesis": "One indicator alone, as given by the test.",
            "market": {"symbols": ["TEST"], "timeframe": "1h"},
            "indicators": {"only": indicator},
            "fuzzy_sets": {
                "only": {
                    "input": f"only.{outputs[0]}" if len(outputs) > 1 else "only",
                    "partition": ["low", "high"],
                    **relative,
                }
            },
            "labels": LABELS[labels],
        }
    )


CLEAN = recipe_of(strategy())


def rolling(values, size, measure, *, ahead=0):
    """A measure of windows of `size`, the last `ahead` of which lie after the bar; NaN where one is not whole."""
    found = np.full(len(values), np.nan)
    measured = measure(np.lib.stride_tricks.sliding_window_view(values, size), axis=1)
    found[size - 1 - ahead : len(values) - ahead] = measured
    return found


def at_its_open(bars, timeframe):
    """The close of the higher bar that a bar lies in, from its first bar on."""
    higher = resample(bars, timeframe)
    place = np.minimum(np.searchsorted(higher.known_row, np.arange(len(bars))), len(higher) - 1)
    return higher.prices["close"][place]


def one_bar_early(bars, timeframe):
    higher = resample(bars, timeframe)
    return np.r_[higher.at_each_bar(higher.prices["close"], len(bars))[1:], np.nan]


def backfilled(bars):
    sparse = np.where(np.arange(len(bars)) % 7 == 6, bars.close, np.nan)
    known = np.flatnonzero(~np.isnan(sparse))
    return sparse[known[np.minimum(np.searchsorted(known, np.arange(len(bars))), len(known) - 1)]]


def interpolated(bars):
    known = np.arange(0, len(bars), 6)
    return np.interp(np.arange(len(bars)), known, bars.close[known])


def both_ways(values, weight=0.2):
    smooth = values.copy()
    for order in (range(1, len(values)), range(len(values) - 2, -1, -1)):
        for row in order:
            before = row - 1 if order.step == 1 else row + 1
            smooth[row] = weight * smooth[row] + (1 - weight) * smooth[before]
    return smooth


def first_component(bars):
    columns = np.stack([bars.close, bars.high - bars.low, bars.volume], axis=1)
    centred = columns - columns.mean(axis=0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][0]


def less_its_trend(bars):
    rows = np.arange(len(bars))
    return bars.close - np.polyval(np.polyfit(rows, bars.close, 1), rows)


def block_mean(values, size):
    starts = np.arange(0, len(values), size)
    return np.repeat(np.add.reduceat(values, starts), size)[: len(values)] / size


FEATURE_LEAKS = {
    "shift(-1) of the close": lambda b: np.r_[b.close[1:], np.nan],
    "shift(-1) of the volume": lambda b: np.r_[b.volume[1:], np.nan],
    "shift(-24) of the close": lambda b: np.r_[b.close[24:], np.full(24, np.nan)],
    "the next bar's open": lambda b: np.r_[b.open[1:], b.close[-1]],
    "the sign of the next move": lambda b: np.r_[np.sign(np.diff(b.close)), 0.0],
    "a centred mean": lambda b: rolling(b.close, 5, np.mean, ahead=2),
    "a centred median": lambda b: rolling(b.close, 21, np.median, ahead=10),
    "a centred deviation": lambda b: rolling(b.close, 9, np.std, ahead=4),
    "a rolling max over the future": lambda b: rolling(b.high, 10, np.max, ahead=9),
    "a rolling min over the future": lambda b: rolling(b.low, 10, np.min, ahead=9),
    "scaling by the range of the series": lambda b: (b.close - b.close.min()) / np.ptp(b.close),
    "a z-score over the series": lambda b: (b.close - b.close.mean()) / b.close.std(),
    "the series' mean taken away": lambda b: b.close - b.close.mean(),
    "a rank over the series": lambda b: b.close.argsort().argsort() / len(b),
    "a quantile of the series": lambda b: (b.close > np.quantile(b.close, 0.8)).astype(float),
    "outliers clipped at quantiles of the series": lambda b: np.clip(b.close, *np.quantile(b.close, [0.01, 0.99])),
    "a trend line through the series": less_its_trend,
    "the first component of the series": first_component,
    "a Fourier filter": lambda b: np.fft.irfft(np.fft.rfft(b.close) * (np.arange(len(b) // 2 + 1) < 40), len(b)),
    "filtfilt": lambda b: filtfilt([0.1], [1, -0.9], b.close),
    "smoothing both ways": lambda b: both_ways(b.close),
    "a convolution in the middle": lambda b: np.convolve(b.close, np.ones(5) / 5, "same"),
    "backward fill": backfilled,
    "interpolation": interpolated,
    "a 4h bar known at its open": lambda b: at_its_open(b, Timeframe.H4),
    "a day known at its open": lambda b: at_its_open(b, Timeframe.D1),
    "a 4h bar known one bar early": lambda b: one_bar_early(b, Timeframe.H4),
    "a day known one bar early": lambda b: one_bar_early(b, Timeframe.D1),
    "the mean of a block that has not ended": lambda b: block_mean(b.close, 8),
    "bars until the highest one": lambda b: np.arange(len(b)) - float(b.close.argmax()),
    "the return relative to the last close": lambda b: b.close / b.close[-1],
    "a sum that runs backwards": lambda b: np.cumsum(b.volume[::-1])[::-1],
    "how many bars follow": lambda b: np.arange(len(b), 0.0, -1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", FEATURE_LEAKS)
def test_planted_leak_in_a_feature_is_found_and_named(name):
    def features(bars):
        inputs = CLEAN.features(bars)
        leaking = np.asarray(FEATURE_LEAKS[name](bars), dtype=np.float64)
        return FeatureInputs((*inputs.names, "leaking"), np.column_stack([inputs.values, leaking]), inputs.first_row)

    leak = find_leak(replace(CLEAN, features=features), BARS)
    assert leak is not None
    assert leak.place == "feature 'leaking'"
    assert 0 <= leak.bar < len(BARS)


def longer_than_stated(labels, bars):
    return Labels(labels.value, np.where(labels.end >= 0, labels.end - 1, -1))


def at_the_close(_, bars):
    value, end = np.full(len(bars), -1, np.int8), np.full(len(bars), -1)
    rows = np.arange(len(bars) - HORIZON)
    value[rows], end[rows] = bars.close[rows + HORIZON] > bars.close[rows], rows + HORIZON
    return Labels(value, end)


def against_the_series(labels, bars):
    rows = np.flatnonzero(labels.value >= 0)
    value = labels.value.copy()
    value[rows] = bars.close[labels.end[rows]] / bars.open[rows + 1] > 1 + np.diff(np.log(bars.close)).mean() * 50
    return Labels(value, labels.end)


LABEL_LEAKS = {
    "end understated by a bar": longer_than_stated,
    "end stated as the next bar": lambda y, b: Labels(y.value, np.where(y.end >= 0, np.arange(len(b)) + 1, -1)),
    "end stated as its own bar": lambda y, b: Labels(y.value, np.where(y.end >= 0, np.arange(len(b)), -1)),
    "entry at the close": at_the_close,
    "a threshold from the whole series": against_the_series,
}


@pytest.mark.parametrize("name", LABEL_LEAKS)
def test_planted_leak_in_labels_is_found(name):
    recipe = replace(CLEAN, labels=lambda bars: LABEL_LEAKS[name](CLEAN.labels(bars), bars))
    leak = find_leak(recipe, BARS)
    assert leak is not None
    assert leak.place == "labels"


def purged(rows, end, stop, *, before_test=0, before_validation=0, share=0.85):
    """A purge that lets rows in whose labels reach so many bars too far."""
    part = rows[(rows < stop) & (end[rows] < stop + before_test)]
    first = int(len(part) * share)
    fitted, validation = part[:first], part[first:]
    return TrainingRows(fitted[end[fitted] < validation[0] + before_validation], validation, 0, 0)


def shuffled(rows, end, stop):
    part = np.random.default_rng(1).permutation(purged(rows, end, stop).fitted)
    return TrainingRows(np.sort(part[:-100]), np.sort(part[-100:]), 0, 0)


def with_rows(rows, end, stop, more):
    clean = purged(rows, end, stop)
    return replace(clean, validation=np.union1d(clean.validation, more))


SPLIT_LEAKS = {
    "purge before the test missing": lambda r, e, s: purged(r, e, s, before_test=HORIZON),
    "purge before the test off by one": lambda r, e, s: purged(r, e, s, before_test=1),
    "purge before validation missing": lambda r, e, s: purged(r, e, s, before_validation=HORIZON),
    "purge before validation off by one": lambda r, e, s: purged(r, e, s, before_validation=1),
    "a filter that lets test rows in": lambda r, e, s: with_rows(r, e, s, np.arange(s, s + 5)),
    "training after the test, without embargo": lambda r, e, s: with_rows(r, e, s, r[-20:]),
    "validation drawn at random": shuffled,
    "validation before the fitted rows": lambda r, e, s: TrainingRows(
        purged(r, e, s).validation, purged(r, e, s).fitted, 0, 0
    ),
    "rows without features": lambda r, e, s: replace(purged(r, e, s), fitted=np.r_[0, purged(r, e, s).fitted]),
    "rows fitted twice": lambda r, e, s: replace(purged(r, e, s), fitted=np.repeat(purged(r, e, s).fitted, 2)),
}


@pytest.mark.parametrize("name", SPLIT_LEAKS)
def test_planted_leak_in_a_split_is_found_with_its_fold_and_stops_a_training(name):
    def split(bars, inputs, labels):
        rows = np.flatnonzero((labels.value >= 0) & (np.arange(len(bars)) >= inputs.first_row))
        folds = CLEAN.split(bars, inputs, labels)
        third = folds[2]
        return [*folds[:2], replace(third, training=SPLIT_LEAKS[name](rows, labels.end, third.test_start)), *folds[3:]]

    leak = find_leak(replace(CLEAN, split=split), BARS)
    assert leak is not None
    assert leak.place.startswith("fold 3, ")

    inputs, labels = CLEAN.features(BARS), CLEAN.labels(BARS)
    third = split(BARS, inputs, labels)[2]
    with pytest.raises(OperationFailed, match="bar") as failed:
        require_purged(
            "fold 3", third.training, label_end=labels.end, first_row=inputs.first_row, test_start=third.test_start
        )
    assert failed.value.reason == "leak_found"


def other_hours(bars, symbol):
    """Another symbol that trades on weekdays only, half an hour later."""
    kept = np.flatnonzero(bars.session_day % 7 < 5)
    later = bars.take(kept)
    close = 50 * np.exp(np.cumsum(np.random.default_rng(6).normal(0, 0.005, len(kept))))
    return replace(
        later, symbol=symbol, timestamp=later.timestamp + HOUR_MS // 2, known_at=later.known_at + HOUR_MS // 2,
        open=close, close=close, high=close * 1.001, low=close * 0.999,
    )  # fmt: skip


PAIR = (BARS, replace(BARS, symbol="TWIN", close=BARS.close[::-1], open=BARS.open[::-1]), other_hours(BARS, "WEEK"))


def by_row_number(pool, third):
    """The first rows of each symbol, as many as its share of the rows before the test: sparse symbols run ahead."""
    rows, n_rows = pool.rows, third.test_start
    share = n_rows / len(rows)
    own = [rows.rows_of(place) for place in range(len(rows.series))]
    ahead = 1.0 + 0.1 * (np.arange(len(own)) - 1)
    kept = np.sort(
        np.concatenate([each[50 : int(len(each) * share * more)] for each, more in zip(own, ahead, strict=True)])
    )
    return TrainingRows(kept[:-500], kept[-300:], 0, 0)


def moved(pool, third, *, rows):
    """Validation that begins so many rows later: in the middle of a moment at which several symbols have a bar."""
    training, opened = third.training, pool.rows.timestamp
    cut = training.validation[rows]
    assert opened[cut] == opened[cut - 1]
    fitted = np.union1d(training.fitted, training.validation[:rows])
    is_known = pool.labels.end[fitted] < cut
    return TrainingRows(fitted[is_known | (fitted == cut - 1)], training.validation[rows:], 0, 0)


CLOCK_LEAKS = {
    "a fold split by each symbol's row number": by_row_number,
    "validation that parts a moment": lambda pool, third: moved(pool, third, rows=1),
    "one symbol's later rows in training": lambda pool, third: replace(
        third.training, fitted=np.union1d(third.training.fitted, pool.rows.rows_of(1)[-20:])
    ),
    "one symbol's labels unpurged": lambda pool, third: replace(
        third.training,
        validation=np.union1d(
            third.training.validation, pool.rows.rows_of(2)[pool.rows.rows_of(2) < third.test_start][-9:]
        ),
    ),
}


@pytest.mark.parametrize("name", CLOCK_LEAKS)
def test_planted_leak_across_symbols_is_found_with_its_fold(name):
    pool = pool_up(gather_rows(PAIR), [CLEAN.features(b) for b in PAIR], [CLEAN.labels(b) for b in PAIR])

    def split(rows, inputs, labels):
        folds = CLEAN.split(rows, inputs, labels)
        return [*folds[:2], replace(folds[2], training=CLOCK_LEAKS[name](pool, folds[2])), *folds[3:]]

    leak = find_leak(replace(CLEAN, split=split), PAIR)
    assert leak is not None
    assert leak.place.startswith("fold 3, ")


def test_rows_out_of_time_and_labels_counted_in_own_bars_are_found_by_the_clock_alone():
    clean = pool_up(gather_rows(PAIR), [CLEAN.features(b) for b in PAIR], [CLEAN.labels(b) for b in PAIR])
    rows, labels = clean.rows, clean.labels
    opens = rows.timestamp
    by_symbol = np.argsort(rows.place, kind="stable")  # one symbol after the other: whole, and split by row number
    own_end = np.searchsorted(opens, opens, side="right") - 1 + HORIZON  # bars of its own taken for rows of the pool
    tables = {
        "labels": (np.where(labels.end >= 0, np.minimum(own_end, len(opens) - 1), -1), clean.times),
        "order": (
            np.where(labels.end[by_symbol] >= 0, np.arange(len(opens)) + HORIZON, -1),
            RowTimes(opens[by_symbol], clean.times.label_known[by_symbol]),
        ),
    }
    for name, (end, times) in tables.items():
        usable = np.flatnonzero((end >= 0) & (np.arange(len(end)) >= clean.inputs.first_row))
        for fold in walk_forward(usable, end, block_bounds(opens, rows.end)):
            given = {"label_end": end, "first_row": clean.inputs.first_row, "test_start": fold.test_start}
            require_purged("a fold", fold.training, **given)  # by their numbers the rows are clean
            with pytest.raises(OperationFailed, match="UTC") as failed:
                require_purged("a fold", fold.training, **given, times=times)
            assert failed.value.reason == "leak_found", name


def test_a_leak_of_one_symbol_is_found_and_clean_ones_are_not_suspected():
    assert find_leak(CLEAN, PAIR) is None
    assert find_leak(replace(CLEAN, fit=FIT_LEAKS["scaling of all rows"]), PAIR).place.startswith("fold 1, quantiles")

    def features(bars):
        inputs = CLEAN.features(bars)
        return inputs if bars.symbol != "WEEK" else replace(inputs, values=np.roll(inputs.values, -1, axis=0))

    leak = find_leak(replace(CLEAN, features=features), PAIR)
    assert leak is not None
    assert leak.place == "WEEK, feature 'only'"


FIT_LEAKS = {
    "quantiles of all rows": lambda x, rows: np.nanquantile(x.values, [0.2, 0.8], axis=0).tolist(),
    "quantiles of fitted and test rows": lambda x, rows: np.quantile(x.values[rows[0] : rows[-1] + 200], 0.5),
    "scaling of all rows": lambda x, rows: (np.nanmean(x.values), np.nanstd(x.values)),
    "the range of all rows": lambda x, rows: (np.nanmin(x.values), np.nanmax(x.values)),
}


@pytest.mark.parametrize("name", FIT_LEAKS)
def test_planted_leak_in_what_is_fitted_is_found(name):
    leak = find_leak(replace(CLEAN, fit=FIT_LEAKS[name]), BARS)
    assert leak is not None
    assert leak.place == "fold 1, quantiles and scaling"


@pytest.mark.parametrize("timeframe", [None, "4h"])
def test_no_indicator_offered_is_suspected(timeframe):
    bars = BARS.slice(0, 2000)
    cuts = firewall.cut_points(1700, len(bars), 4)
    suspected = {
        kind: leak
        for kind in CATALOGUE
        if (leak := find_feature_leak(recipe_of(strategy(kind, timeframe=timeframe)).features, bars, cuts))
    }
    assert suspected == {}


@pytest.mark.parametrize("labels", LABELS)
def test_no_kind_of_label_is_suspected(labels):
    recipe = recipe_of(strategy(labels=labels))
    folds = recipe.split(BARS, recipe.features(BARS), recipe.labels(BARS))
    assert all(len(fold.training.fitted) > 100 for fold in folds)  # else nothing would have been checked
    assert find_leak(recipe, BARS) is None
    assert find_label_leak(recipe.labels, BARS, firewall.cut_points(50, 2000, 60)) is None


def test_a_leak_late_in_a_long_series_is_found_at_its_own_bar():
    bars = walk(20_000)

    def features(part):
        inputs = CLEAN.features(part)
        is_late = part.timestamp >= bars.timestamp[15_000]
        return replace(inputs, values=inputs.values + (is_late * np.r_[part.close[1:], 0.0])[:, None])

    assert find_leak(CLEAN, bars) is None
    leak = find_leak(replace(CLEAN, features=features), bars)
    assert leak is not None
    assert leak.bar >= 15_000


def test_every_strategy_is_checked_at_least_at_twenty_bars_and_refused_with_the_place():
    for n_bars in (300, 2000, 6000, 20_000):
        cuts = firewall.cut_points(60, n_bars)
        assert len(cuts) >= 20
        assert cuts[0] > 60
        assert cuts[-1] < n_bars
    leaking = replace(CLEAN, fit=FIT_LEAKS["scaling of all rows"])
    with pytest.raises(InvalidInput, match=r"'greedy'.*fold 1, quantiles and scaling at bar") as refused:
        refuse_leaks("greedy", leaking, BARS)
    assert refused.value.reason == "leak_found"
