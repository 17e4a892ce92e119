"""Markets without an edge that a rule could know, and markets with one of known size, as files of daily bars."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ktrdr.market.bars import Bars
from ktrdr.market.samples import install_samples
from ktrdr.market.store import BarStore

FloatArray = NDArray[np.float64]

N_BARS = 2_500
"""Of a series as it is imported: the import seals the last fifth, and research sees 2,000."""

SAMPLES = ("AAPL", "MSFT", "SPX")
MEAN_BLOCK = 20
_DAY_MS = 86_400_000
_STEPS = 12  # of the walk inside a bar, from which its high and low come
_FIRST_DAY = 14_610  # 2010-01-01


@dataclass(frozen=True, slots=True)
class NoiseMarket:
    """A made series: `kind` is how it was made, `source` from what; `frame` holds timestamp, prices, perhaps volume."""

    kind: str
    source: str
    calendar: str
    frame: pl.DataFrame


@lru_cache(maxsize=1)
def sample_bars() -> dict[str, Bars]:
    """Return the research bars of the bundled daily samples; what is sealed of them stays so."""
    with TemporaryDirectory() as folder:
        store = BarStore(Path(folder) / "data")
        install_samples(store)
        return {symbol: store.load_research(symbol, "1d") for symbol in SAMPLES}


def random_walk(rng: np.random.Generator) -> NoiseMarket:
    """Return a walk whose volatility clusters as that of markets does; no direction can be known from the past."""
    variance, returns = 1.0, np.empty((N_BARS, _STEPS))
    for day in range(N_BARS):  # GARCH(1, 1) of usual size
        returns[day] = rng.standard_t(5, _STEPS) * np.sqrt(0.6 * variance / _STEPS)
        variance = 0.05 + 0.08 * returns[day].sum() ** 2 + 0.87 * variance
    frame = _walked(np.cumsum(0.01 * returns, axis=1))
    spread = frame["high"] / frame["low"] - 1
    frame = frame.with_columns(volume=1e6 * spread / spread.mean() * rng.lognormal(0.0, 0.3, N_BARS))
    return NoiseMarket("random walk", "GARCH(1, 1), Student t", "24x7", frame)


def block_bootstrap(rng: np.random.Generator) -> NoiseMarket:
    """Return a real series' bars in random blocks of twenty on average: tails and clusters are real, the order is not.

    What follows what within a block stays, so a dependence of a few days, where the real series has one, does too.
    """
    symbol, shapes, bars = _drawn_sample(rng)
    begins = rng.random(N_BARS) < 1 / MEAN_BLOCK
    order = np.empty(N_BARS, dtype=np.intp)
    place = 0
    for row in range(N_BARS):
        place = int(rng.integers(len(shapes))) if begins[row] or row == 0 else (place + 1) % len(shapes)
        order[row] = place
    return NoiseMarket("block bootstrap", symbol, bars.calendar, _reordered(shapes, order, bars))


def phase_shuffle(rng: np.random.Generator) -> NoiseMarket:
    """Return a real series' bars in an order whose returns have the real spectrum and random phases.

    Ranks of a phase-randomised copy of the returns decide which bar comes when, so that every bar stays as it was. The
    linear dependence is that of the real series; all other order is lost.

    Source:
        Theiler et al. (1992), "Testing for nonlinearity in time series: the method of surrogate data".
    """
    symbol, shapes, bars = _drawn_sample(rng)
    first = int(rng.integers(len(shapes) - N_BARS + 1))
    shapes = shapes[first : first + N_BARS]
    returns = shapes[:, 3]
    spectrum = np.fft.rfft(returns - returns.mean())
    turned = np.abs(spectrum) * np.exp(2j * np.pi * rng.random(len(spectrum)))
    copy = np.fft.irfft(turned, n=N_BARS)
    order = np.argsort(returns, kind="stable")[np.argsort(np.argsort(copy, kind="stable"), kind="stable")]
    return NoiseMarket("phase shuffle", symbol, bars.calendar, _reordered(shapes, order, bars))


KINDS: dict[str, Callable[[np.random.Generator], NoiseMarket]] = {
    "random walk": random_walk,
    "block bootstrap": block_bootstrap,
    "phase shuffle": phase_shuffle,
}


def undone_moves(rng: np.random.Generator, *, sharpe_annual: float, n_bars: int) -> NoiseMarket:
    """Return a market whose next day leans against the last one: whoever always trades that has this Sharpe ratio.

    Args:
        rng: What the draws come from.
        sharpe_annual: Of 365 days a year; the market never closes.
        n_bars: Its length, sealed bars included.
    """
    lean = 0.01 * sharpe_annual / np.sqrt(365.25)
    steps = rng.normal(0.0, 0.01 / np.sqrt(_STEPS), (n_bars, _STEPS))
    last = 1.0
    for day in range(n_bars):
        steps[day] -= np.sign(last) * lean / _STEPS
        last = steps[day].sum()
    return NoiseMarket("undone moves", f"Sharpe {sharpe_annual:g}", "24x7", _walked(np.cumsum(steps, axis=1)))


def _walked(path: FloatArray) -> pl.DataFrame:
    """Return bars of (n_bars, steps) logarithmic paths, each from its day's open."""
    ends = np.concatenate([[0.0], np.cumsum(path[:, -1])])
    opened = 100 * np.exp(ends[:-1])
    days = np.arange(_FIRST_DAY, _FIRST_DAY + len(path), dtype=np.int64)
    return _frame(
        days * _DAY_MS,
        opened,
        opened * np.exp(np.maximum(path.max(axis=1), 0)),
        opened * np.exp(np.minimum(path.min(axis=1), 0)),
        100 * np.exp(ends[1:]),
    )


def _drawn_sample(rng: np.random.Generator) -> tuple[str, FloatArray, Bars]:
    symbol = SAMPLES[int(rng.integers(len(SAMPLES)))]
    bars = sample_bars()[symbol]
    before = np.log(bars.close[:-1])
    prices = (bars.open, bars.high, bars.low, bars.close)
    return symbol, np.stack([np.log(price[1:]) - before for price in prices], axis=1), bars


def _reordered(shapes: FloatArray, order: NDArray[np.intp], bars: Bars) -> pl.DataFrame:
    """Return bars whose moves from the last close are those of `shapes` in this order, on the sample's own days."""
    moves = shapes[order]
    before = np.concatenate([[0.0], np.cumsum(moves[:, 3])[:-1]])
    opened, high, low, close = (100 * np.exp(before + moves[:, column]) for column in range(4))
    volume = bars.volume[1:][order]
    return _frame(bars.timestamp[:N_BARS], opened, high, low, close).with_columns(volume=pl.Series(volume))


def _frame(
    timestamp: NDArray[np.int64], opened: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray
) -> pl.DataFrame:
    stamp = pl.Series(timestamp).cast(pl.Datetime("ms", "UTC"))
    # Rounding must not put a close outside its bar.
    return pl.DataFrame(
        {
            "timestamp": stamp,
            "open": opened,
            "high": np.maximum.reduce([opened, high, close]),
            "low": np.minimum.reduce([opened, low, close]),
            "close": close,
        }
    )
