"""Prices that jump as no market does: splits, changes of unit, fat fingers, one name for two companies."""

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ktrdr.market.bars import Bars, FloatArray
from ktrdr.market.calendar import IntArray
from ktrdr.market.findings import Finding, Severity
from ktrdr.market.timeframe import DAY_MS

SCALE_WINDOW = 250  # bars on each side over which the usual move is measured
OUTLIER_SIGMA = 12.0  # usual moves of a one-bar return worth a word
SPIKE_SIGMA, SPIKE_MOVE = 25.0, 0.05  # a spike that comes back is serious beyond both
WICKS = "wicks"
WICK_MOVE = 0.15  # as a logarithm; and beyond SPIKE_SIGMA
RETURNED = 0.35  # share of a spike that may be left after the next bar
SPLIT_FACTORS = np.array([1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50, 100])
SPLIT_TOLERANCE = 0.04  # of the factor: the market moves on the day of a split too
LEAST_JUMP = np.log(1.4)  # below it a jump of a share may be news
STEP_FACTOR = {True: np.log(4.0), False: np.log(1.6)}  # a jump this big is no trading, by whether it is an exchange
CRYPTO_STEP = np.log(3.0)
REUSE_HOLE_MS = 30 * DAY_MS
REUSE_JUMP = np.log(2.0)


def find_jumps(bars: Bars, *, is_exchange: bool) -> list[Finding]:
    """Return what the moves from bar to bar show; `is_exchange`: splits happen there."""
    if len(bars) < 3:
        return []
    move = np.diff(np.log(bars.close))
    gap = np.log(bars.open[1:] / bars.close[:-1])
    usual = _usual_move(move)
    reuse = (np.diff(bars.timestamp) > REUSE_HOLE_MS) & (np.abs(gap) > REUSE_JUMP)
    split = ~reuse & _looks_like_split(gap) if is_exchange else np.zeros(len(gap), dtype=np.bool_)
    step = ~reuse & ~split & (np.abs(gap) > STEP_FACTOR[is_exchange])
    spike = np.zeros(len(move), dtype=np.bool_)
    spike[:-1] = (np.abs(move[:-1]) > np.maximum(SPIKE_SIGMA * usual[:-1], SPIKE_MOVE)) & (
        np.abs(move[:-1] + move[1:]) < RETURNED * np.abs(move[:-1])
    )
    spike &= ~(split | step | reuse)
    after_spike = np.concatenate([[False], spike[:-1]])
    outlier = (np.abs(move) > OUTLIER_SIGMA * usual) & ~(split | step | spike | after_spike | reuse)
    return [
        *_find_wicks(bars, usual),
        *_report(bars, "ticker_reuse", Severity.SERIOUS, reuse, gap,
                 "a hole of more than 30 days ends at another price",
                 "import only the bars after it: before, the name may have belonged to something else"),
        *_report(bars, "suspected_split", Severity.SERIOUS, split, gap,
                 "the price jumps by the factor of a split between two bars",
                 "`ktrdr data adjust` with a file of splits, or import adjusted prices (--adjust uses adj_close)"),
        *_report(bars, "scale_change", Severity.SERIOUS, step, gap,
                 "the price jumps further between two bars than markets do",
                 "look for a change of unit or contract in the file, and import one unit"),
        *_report(bars, "spike", Severity.SERIOUS, spike, move,
                 "a close far from both its neighbours, as a mistyped price is",
                 "compare with another source, correct the bar and import it with --replace"),
        *_report(bars, "outliers", Severity.WARNING, outlier, move,
                 f"moves of more than {OUTLIER_SIGMA:g} times the usual one",
                 "nothing, if there was news: the largest are worth a look"),
    ]  # fmt: skip


def _find_wicks(bars: Bars, usual: FloatArray) -> list[Finding]:
    """Find highs and lows far from the open and the close: mistyped, or a flash crash."""
    above = np.log(bars.high / np.maximum(bars.open, bars.close))
    below = np.log(bars.low / np.minimum(bars.open, bars.close))
    reach = np.where(above > -below, above, below)
    # The first bar has no move of its own: it takes the scale of the second.
    shown = np.abs(reach) > np.maximum(SPIKE_SIGMA * np.concatenate([usual[:1], usual]), WICK_MOVE)
    return _report(
        bars,
        WICKS,
        Severity.WARNING,
        shown[1:],
        reach[1:],
        "highs or lows far from open and close",
        "compare with another source: stops and targets would have been touched there",
    )


def _usual_move(move: FloatArray) -> FloatArray:
    """Return a robust standard deviation of the moves around each, from blocks of the window's length."""
    n_blocks = max(1, len(move) // (2 * SCALE_WINDOW))
    size = np.abs(move)
    everywhere = 1.4826 * float(np.median(size[size > 0])) if (size > 0).any() else 0.0
    usual = [np.full(len(block), _block_scale(block, everywhere)) for block in np.array_split(size, n_blocks)]
    return np.concatenate(usual)


def _block_scale(size: FloatArray, everywhere: float) -> float:
    # A block in which the market stood still most of the time must not make every other bar an outlier.
    return max(1.4826 * float(np.median(size)), everywhere / 3)


def _looks_like_split(gap: FloatArray) -> NDArray[np.bool_]:
    ratio = np.exp(np.abs(gap))
    nearest = np.min(np.abs(ratio[:, None] / SPLIT_FACTORS - 1), axis=1)
    is_split: NDArray[np.bool_] = (nearest < SPLIT_TOLERANCE) & (np.abs(gap) > LEAST_JUMP)
    return is_split


def _report(
    bars: Bars, kind: str, severity: Severity, shown: NDArray[np.bool_], size: FloatArray, what: str, advice: str
) -> list[Finding]:
    rows: IntArray = np.flatnonzero(shown)
    if not len(rows):
        return []
    largest = int(rows[np.argmax(np.abs(size[rows]))])
    at = _moment(bars, largest + 1)
    words = f"{what}: {len(rows)}, the largest {np.expm1(size[largest]):+.1%} at {at:%Y-%m-%d %H:%M}"
    return [
        Finding(
            kind=kind,
            severity=severity,
            count=len(rows),
            first=_moment(bars, int(rows[0]) + 1),
            what=words,
            advice=advice,
        )
    ]


def _moment(bars: Bars, row: int) -> datetime:
    return datetime.fromtimestamp(int(bars.timestamp[row]) / 1000, UTC)
