import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.errors import OperationFailed
from ktrdr.indicators.catalogue import CATALOGUE, complete_parameters, parameter_faults
from ktrdr.indicators.compute import average_true_range, compute_indicator, warmup_bars
from ktrdr.indicators.indicator_type import CLOCK_INPUTS


def random_walk(seed: int, n_bars: int = 1500, *, tick: float = 0.0) -> dict[str, np.ndarray]:
    """Prices of a random walk with gaps; a coarse tick makes ties and flat bars, as real exchanges do."""
    rng = np.random.default_rng(seed)
    sigma = rng.choice([0.0005, 0.005, 0.03])
    close = 10.0 ** rng.uniform(-1, 4) * np.exp(np.cumsum(rng.normal(0, sigma, n_bars)))
    opens = np.r_[close[0], close[:-1]] * np.exp(rng.normal(0, sigma / 4, n_bars))
    high = np.maximum(opens, close) * np.exp(np.abs(rng.normal(0, sigma / 3, n_bars)))
    low = np.minimum(opens, close) * np.exp(-np.abs(rng.normal(0, sigma / 3, n_bars)))
    columns = {"open": opens, "high": high, "low": low, "close": close}
    if tick:
        unit = tick * sigma * close.mean()
        columns = {name: np.maximum(np.round(values / unit), 1.0) * unit for name, values in columns.items()}
    clock = {"hour": np.arange(n_bars) * 0.25 % 24, "weekday": np.arange(n_bars) // 96 % 7.0}
    clock["monthday"] = 1.0 + np.arange(n_bars) // 96 % 30
    return {**columns, "volume": rng.lognormal(5, 1, n_bars), **clock}


def cut(prices: dict[str, np.ndarray], start: int, stop: int) -> dict[str, np.ndarray]:
    return {name: values[start:stop].copy() for name, values in prices.items()}


@st.composite
def drawn_parameters(draw: st.DrawFn, name: str) -> dict[str, float]:
    parameters = {}
    for allowed in CATALOGUE[name].parameters:
        high = min(allowed.maximum, 60)  # longer ones only make the warm-up eat the series
        steps = draw(st.integers(0, int((high - allowed.minimum) / allowed.step)))
        parameters[allowed.name] = allowed.minimum + steps * allowed.step
    return {} if parameter_faults(name, parameters) else parameters


@pytest.mark.parametrize("name", CATALOGUE)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_values_vary_and_stay_bit_identical_when_the_series_is_cut_at_any_bar(name: str, data: st.DataObject):
    parameters = data.draw(drawn_parameters(name))
    prices = random_walk(data.draw(st.integers(0, 2**32 - 1)), tick=data.draw(st.sampled_from([0.0, 0.5])))
    stop = data.draw(st.integers(1, 1499))

    whole = compute_indicator(name, parameters, prices)
    prefix = compute_indicator(name, parameters, cut(prices, 0, stop))

    warmup = warmup_bars(name, parameters)
    for output, values in whole.items():
        assert prefix[output].tobytes() == values[:stop].tobytes()
        assert np.isnan(values[:warmup]).all()
        assert np.isfinite(values[warmup:]).all()
        assert len(np.unique(values[warmup:])) > 2


@pytest.mark.parametrize("name", CATALOGUE)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_after_the_warmup_it_does_not_matter_where_the_series_starts(name: str, data: st.DataObject):
    parameters = data.draw(drawn_parameters(name))
    prices = random_walk(data.draw(st.integers(0, 2**32 - 1)))
    dropped = data.draw(st.integers(1, 400))

    whole = compute_indicator(name, parameters, prices)
    late = compute_indicator(name, parameters, cut(prices, dropped, 1500))

    warmup = warmup_bars(name, parameters)
    for output, values in whole.items():
        difference = np.abs(late[output] - values[dropped:])[warmup:]
        assert difference.size
        assert difference.max() <= 1e-3 * values[warmup:].std()


@pytest.mark.parametrize(
    ("name", "period", "kept"), [("RSI", 14, 1 - 1 / 14), ("EMA", 50, 1 - 2 / 51), ("ATR", 100, 1 - 1 / 100)]
)
def test_warmup_of_one_recursive_average_follows_its_geometric_decay(name: str, period: int, kept: float):
    lookback = period - 1 if name == "EMA" else period
    assert warmup_bars(name, {"timeperiod": period}) == lookback + math.ceil(math.log(1e-4) / math.log(kept))


def test_a_series_shorter_than_the_warmup_has_no_values():
    for name in CATALOGUE:
        for n_bars in (1, 2, warmup_bars(name, {})):
            for values in compute_indicator(name, {}, cut(random_walk(1), 0, n_bars)).values():
                assert values.shape == (n_bars,)
                assert np.isnan(values[: warmup_bars(name, {})]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_price_is_refused_because_ta_lib_would_never_recover(bad: float):
    prices = random_walk(3)
    prices["close"][700] = bad
    with pytest.raises(ValueError, match=r"need finite close, was .* at bar 700"):
        compute_indicator("RSI", {}, prices)


def test_unequal_columns_and_unknown_parameters_are_refused():
    prices = random_walk(3)
    with pytest.raises(ValueError, match="need close of shape"):
        compute_indicator("ATR", {}, {**prices, "close": prices["close"][1:]})
    with pytest.raises(ValueError, match="timeperiod: 1 is below the minimum 2"):
        compute_indicator("RSI", {"timeperiod": 1}, prices)


@pytest.mark.parametrize("name", [name for name, kind in CATALOGUE.items() if "volume" in kind.inputs])
def test_a_whole_period_without_volume_fails_by_name_and_one_bar_less_does_not(name: str):
    period = 20
    prices = random_walk(4)
    prices["volume"][300 : 300 + period - 1] = 0.0
    assert np.isfinite(compute_indicator(name, {"timeperiod": period}, prices)["real"][period:]).all()
    prices["volume"][300 + period - 1] = 0.0
    with pytest.raises(OperationFailed, match=rf"{name}\(timeperiod=20\) has no meaning at bar 319") as failure:
        compute_indicator(name, {"timeperiod": period}, prices)
    assert failure.value.reason == "indicator_not_finite"


def test_an_overflow_to_infinity_after_the_warmup_fails_by_name():
    prices = random_walk(4)
    prices["close"][400] = 1e308
    with pytest.raises(OperationFailed, match=r"BBANDS\(.*\) gives .* for 'upperband' at bar 400") as failure:
        compute_indicator("BBANDS", {}, prices)
    assert failure.value.reason == "indicator_not_finite"


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_unit_says_how_values_move_with_scale_and_level_of_the_price(name: str):
    prices, warmup, unit = random_walk(11), warmup_bars(name, {}), CATALOGUE[name].unit
    shift = 0.5 * prices["close"].mean()
    kept = {k: prices[k] for k in ("volume", *CLOCK_INPUTS)}
    scaled = compute_indicator(name, {}, {**{k: 3 * v for k, v in prices.items()}, **kept})
    shifted = compute_indicator(name, {}, {**{k: v + shift for k, v in prices.items()}, **kept})
    for output, values in compute_indicator(name, {}, prices).items():
        settled, tolerance = values[warmup:], 1e-6 * values[warmup:].std()
        factor = 3 if unit in ("price", "price_difference") else 1
        np.testing.assert_allclose(scaled[output][warmup:], factor * settled, rtol=0, atol=tolerance)
        if unit in ("price", "price_difference"):
            moved = shift if unit == "price" else 0.0
            np.testing.assert_allclose(shifted[output][warmup:], settled + moved, rtol=0, atol=tolerance)


def wilder(values: np.ndarray, n: int) -> np.ndarray:
    """Wilder's average of values[1:], seeded with a plain mean of the first n."""
    smoothed = np.full(len(values), np.nan)
    smoothed[n] = values[1 : n + 1].mean()
    for i in range(n + 1, len(values)):
        smoothed[i] = smoothed[i - 1] + (values[i] - smoothed[i - 1]) / n
    return smoothed


def true_range(p: dict[str, np.ndarray]) -> np.ndarray:
    before = np.r_[np.nan, p["close"][:-1]]
    return np.maximum(p["high"], before) - np.minimum(p["low"], before)


def windows(values: np.ndarray, n: int) -> np.ndarray:
    """(n_bars, n): the last n values of every bar; NaN where there are fewer."""
    return np.lib.stride_tricks.sliding_window_view(np.r_[np.full(n - 1, np.nan), values], n)


def rsi(p: dict[str, np.ndarray]) -> np.ndarray:
    change = np.diff(p["close"], prepend=np.nan)
    gain, loss = wilder(np.maximum(change, 0), 14), wilder(np.maximum(-change, 0), 14)
    return 100 - 100 / (1 + gain / loss)


def plus_di(p: dict[str, np.ndarray]) -> np.ndarray:
    up, down = np.diff(p["high"], prepend=np.nan), -np.diff(p["low"], prepend=np.nan)
    movement = np.where((up > down) & (up > 0), up, 0.0)
    return 100 * wilder(movement, 14) / wilder(true_range(p), 14)


def macd(p: dict[str, np.ndarray]) -> np.ndarray:
    fast = slow = p["close"][0]
    line = []
    for close in p["close"]:
        fast += 2 / 13 * (close - fast)
        slow += 2 / 27 * (close - slow)
        line.append(fast - slow)
    return np.array(line)


def money_flow(p: dict[str, np.ndarray]) -> np.ndarray:
    typical = (p["high"] + p["low"] + p["close"]) / 3
    rise = np.diff(typical, prepend=np.nan)
    flow = typical * p["volume"]
    up = windows(np.where(rise > 0, flow, 0), 14).sum(axis=1)
    down = windows(np.where(rise < 0, flow, 0), 14).sum(axis=1)
    return 100 * up / (up + down)


def chaikin(p: dict[str, np.ndarray]) -> np.ndarray:
    where = (2 * p["close"] - p["high"] - p["low"]) / (p["high"] - p["low"])
    return windows(where * p["volume"], 20).sum(axis=1) / windows(p["volume"], 20).sum(axis=1)


def bollinger(p: dict[str, np.ndarray]) -> np.ndarray:
    last = windows(p["close"], 20)
    return last.mean(axis=1) - 2 * last.std(axis=1)


def commodity_channel(p: dict[str, np.ndarray]) -> np.ndarray:
    last = windows((p["high"] + p["low"] + p["close"]) / 3, 20)
    mean = last.mean(axis=1)
    return (last[:, -1] - mean) / (0.015 * np.abs(last - mean[:, None]).mean(axis=1))


def keltner(p: dict[str, np.ndarray]) -> np.ndarray:
    middle = (p["high"] + p["low"] + p["close"]) / 3
    for i in range(1, len(middle)):
        middle[i] = middle[i - 1] + 2 / 21 * (middle[i] - middle[i - 1])
    return middle - 2 * wilder(true_range(p), 10)


@pytest.mark.parametrize(
    ("name", "output", "formula"),
    [
        ("RSI", "real", rsi),
        ("ATR", "real", lambda p: wilder(true_range(p), 14)),
        ("PLUS_DI", "real", plus_di),
        ("MACD", "macd", macd),
        ("MFI", "real", money_flow),
        ("CMF", "real", chaikin),
        ("BBANDS", "lowerband", bollinger),
        ("CCI", "real", commodity_channel),
        ("KC", "lowerband", keltner),
        ("DONCHIAN", "upperband", lambda p: windows(p["high"], 20).max(axis=1)),
        ("AROON", "aroonup", lambda p: 100 * (windows(p["high"], 26).argmax(axis=1)) / 25),
        ("PERCENTRANK", "real", lambda p: (windows(p["close"], 101)[:, :-1] < p["close"][:, None]).mean(axis=1) * 100),
        ("ER", "real", lambda p: np.abs(windows(p["close"], 11)[:, -1] - windows(p["close"], 11)[:, 0])
            / np.abs(np.diff(windows(p["close"], 11), axis=1)).sum(axis=1)),
        ("RVOL", "real", lambda p: p["volume"] / windows(np.r_[np.nan, p["volume"][:-1]], 20).mean(axis=1)),
    ],
)  # fmt: skip
def test_values_agree_with_the_published_formula(name: str, output: str, formula):
    prices = random_walk(7)
    ours = compute_indicator(name, {}, prices)[output]
    start = warmup_bars(name, {})
    scale = ours[start:].std()
    expected = formula(prices)[start:]
    np.testing.assert_allclose(ours[start:], expected, rtol=0, atol=2e-4 * scale)


def test_average_true_range_is_the_atr_of_fourteen_bars():
    prices = random_walk(8)
    expected = compute_indicator("ATR", complete_parameters("ATR", {}), prices)["real"]
    assert average_true_range(prices).tobytes() == expected.tobytes()
