"""The quality report: what the research bars of a snapshot show, measured against their calendar and themselves.

The thresholds are set so that real, clean files of FX, shares, an index and bitcoin have no serious finding, and each
kind is found where it is planted.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ktrdr.market.bars import Bars, FloatArray
from ktrdr.market.calendar import (
    FX,
    ROUND_THE_CLOCK,
    BarGrid,
    IntArray,
    Sessions,
    clock_bars,
    expected_slots,
    find_grid,
    load_sessions,
    slots_of,
)
from ktrdr.market.drift import find_clock_drift
from ktrdr.market.findings import Finding, QualityReport, Severity
from ktrdr.market.jumps import find_jumps

MISSING_SERIOUS = 0.10  # share of expected bars
STALE_RUN = {True: 3, False: 10}  # equal flat bars in a row worth saying, by whether they are daily
STALE_SERIOUS = 0.20  # share of bars in such runs
CLOSE_ONLY = 0.99  # share of flat bars of a file that knows only closes
BODILESS = 0.05  # of a bar's range
BODILESS_RUN = 20
IDLE_VOLUME = 0.02  # share of bars that moved without volume
VOLUME_SPIKE = 1000.0  # times the median
WIDE_SPREAD_BPS = 50.0  # half spread
SPREAD_SPIKE = 200.0  # times the median
FEW_BARS = 500
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Rows that show a kind, and the words about them."""

    kind: str
    severity: Severity
    rows: IntArray
    what: str
    advice: str


def measure_quality(bars: Bars, calendar: str) -> QualityReport:
    """Measure research bars; `calendar` is a resolved one."""
    label, timeframe = bars.timestamp, bars.timeframe
    sessions = load_sessions(calendar, int(label[0]), int(label[-1]))
    grid = None if timeframe.is_daily else find_grid(label, timeframe, sessions)
    inside = clock_bars(label, timeframe, sessions, grid).inside
    missing, gaps = _find_gaps(bars, sessions, grid, inside)
    flat = (bars.high == bars.low) & (bars.open == bars.close)
    found = [
        *gaps,
        *_find_extra(inside, calendar),
        *_find_flat(bars, flat),
        *_find_bodiless(bars),
        *_find_idle_volume(bars, flat),
        *_find_odd_spreads(bars),
        *_find_few(bars),
    ]
    findings = [
        *(_as_finding(each, label) for each in found),
        *find_jumps(bars, is_exchange=calendar not in (FX, ROUND_THE_CLOCK)),
        *find_clock_drift(bars, sessions),
    ]
    return QualityReport(
        bars=len(bars),
        missing=missing,
        extra=int((~inside).sum()),
        flat=int(flat.sum()),
        zero_volume=int((bars.volume == 0).sum()),
        findings=tuple(sorted(findings, key=lambda finding: finding.severity is not Severity.SERIOUS)),
    )


def _as_finding(found: _Found, label: IntArray) -> Finding:
    return Finding(
        kind=found.kind,
        severity=found.severity,
        count=len(found.rows),
        first=datetime.fromtimestamp(int(label[found.rows[0]]) / 1000, UTC),
        what=found.what,
        advice=found.advice,
    )


def _find_gaps(bars: Bars, sessions: Sessions, grid: BarGrid | None, inside: BoolArray) -> tuple[int, list[_Found]]:
    label, timeframe = bars.timestamp, bars.timeframe
    end_ms = int(label[-1]) + timeframe.milliseconds
    expected = expected_slots(sessions, timeframe, grid, first_ms=int(label[0]), end_ms=end_ms)
    present = np.isin(expected, slots_of(label[inside], timeframe, grid))
    missing = int((~present).sum())
    if not missing:
        return 0, []
    edges = np.diff(np.concatenate([[0], (~present).astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    # The bar before each hole: holes are named by what is there.
    before = np.searchsorted(slots_of(label, timeframe, grid), expected[starts]) - 1
    before = np.maximum(before, 0)
    longest = int(np.argmax(stops - starts))
    share = missing / len(expected)
    what = (
        f"{missing} of {len(expected)} expected bars are missing ({share:.2%}), in {_count(starts, 'hole')}; the"
        f" longest has {int(stops[longest] - starts[longest])} bars, after {_day(label[before[longest]])}"
    )
    serious = share > MISSING_SERIOUS
    advice = (
        "find a fuller source, or name the right sessions with --calendar"
        if serious
        else "nothing, if they are holidays or outages; otherwise import what is missing: new bars are added"
    )
    return missing, [_Found("gaps", Severity.SERIOUS if serious else Severity.WARNING, before, what, advice)]


def _find_extra(inside: BoolArray, calendar: str) -> list[_Found]:
    rows = np.flatnonzero(~inside)
    if not len(rows):
        return []
    what = f"{_count(rows, 'bar')} outside the sessions of {calendar}"
    return [_Found("outside_sessions", Severity.WARNING, rows, what, "nothing, if they are late prints; they are kept")]


def _find_flat(bars: Bars, flat: BoolArray) -> list[_Found]:
    """Find bars that repeat the one before, and files that know only closes."""
    n_bars = len(bars)
    if flat.mean() >= CLOSE_ONLY:
        what = f"{int(flat.sum())} of {n_bars} bars have one price for open, high, low and close"
        advice = "import bars with real highs and lows: ranges, stops and fills at the open mean nothing here"
        return [_Found("close_only", Severity.SERIOUS, np.flatnonzero(flat), what, advice)]
    repeats = np.concatenate([[False], flat[1:] & (bars.close[1:] == bars.close[:-1])])
    edges = np.diff(np.concatenate([[0], repeats.astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    least = STALE_RUN[bars.timeframe.is_daily]
    is_long = stops - starts >= least
    if not is_long.any():
        return []
    starts, stops = starts[is_long], stops[is_long]
    share = float((stops - starts).sum()) / n_bars
    what = (
        f"{len(starts)} runs of at least {least} bars without any change; the longest has {int((stops - starts).max())}"
    )
    serious = share > STALE_SERIOUS
    advice = (
        "use a longer timeframe or another source: most of these bars show no trading"
        if serious
        else "nothing, if the market was quiet or closed; the source filled the time"
    )
    return [_Found("stale", Severity.SERIOUS if serious else Severity.WARNING, starts, what, advice)]


def _find_bodiless(bars: Bars) -> list[_Found]:
    """Find stretches in which every close is its own open although prices moved: a column that slipped by a row."""
    reach = bars.high - bars.low
    bodiless = (reach > 0) & (np.abs(bars.close - bars.open) <= BODILESS * reach)
    edges = np.diff(np.concatenate([[0], bodiless.astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    is_long = stops - starts >= BODILESS_RUN
    if not is_long.any():
        return []
    n_bars = int((stops - starts)[is_long].sum())
    what = f"{n_bars} bars, {BODILESS_RUN} or more in a row, close where they open, though they have a high and a low"
    advice = "look whether a column of the file slipped by a row"
    return [_Found("bodiless", Severity.SERIOUS, starts[is_long], what, advice)]


def _find_idle_volume(bars: Bars, flat: BoolArray) -> list[_Found]:
    volume = bars.volume
    if np.isnan(volume).any():
        return []
    found = []
    idle = np.flatnonzero((volume == 0) & ~flat)
    if len(idle) > IDLE_VOLUME * len(volume):
        what = f"{_count(idle, 'bar')} moved without volume"
        found.append(_Found("idle_volume", Severity.WARNING, idle, what, "do not rely on volume before checking it"))
    traded = volume[volume > 0]
    if len(traded) and (volume > VOLUME_SPIKE * np.median(traded)).any():
        rows = np.flatnonzero(volume > VOLUME_SPIKE * np.median(traded))
        what = f"{_count(rows, 'bar')} with more than {VOLUME_SPIKE:g} times the median volume"
        found.append(_Found("volume_spikes", Severity.WARNING, rows, what, "check the unit: lots, shares or notional"))
    if len(traded) > 1 and (traded == traded[0]).all():
        what = f"every bar that traded has the volume {traded[0]:g}"
        found.append(_Found("constant_volume", Severity.WARNING, np.array([0]), what, "import it without that column"))
    return found


def _find_odd_spreads(bars: Bars) -> list[_Found]:
    half: FloatArray | None = bars.half_spread_bps
    if half is None:
        return []
    found, median = [], float(np.median(half))
    advice = "check the unit of the spread column: it is ask less bid, in price units"
    if median > WIDE_SPREAD_BPS:
        what = f"the half spread is {median:.1f} basis points in the median"
        found.append(_Found("wide_spread", Severity.SERIOUS, np.array([0]), what, advice))
    if median == 0:
        what = "the spread is zero in most bars: trading would cost less than it does"
        found.append(_Found("zero_spread", Severity.SERIOUS, np.flatnonzero(half == 0), what, advice))
    elif (half > SPREAD_SPIKE * median).any():
        rows = np.flatnonzero(half > SPREAD_SPIKE * median)
        what = f"{_count(rows, 'bar')} with more than {SPREAD_SPIKE:g} times the median spread"
        found.append(_Found("spread_spikes", Severity.WARNING, rows, what, "check these bars against another source"))
    return found


def _find_few(bars: Bars) -> list[_Found]:
    if len(bars) >= FEW_BARS:
        return []
    what = f"{len(bars)} bars are left for research"
    return [
        _Found("few_bars", Severity.WARNING, np.array([0]), what, "import a longer history: luck decides on so few")
    ]


def _count(rows: IntArray, noun: str) -> str:
    return f"1 {noun}" if len(rows) == 1 else f"{len(rows)} {noun}s"


def _day(epoch_ms: int) -> str:
    return f"{datetime.fromtimestamp(int(epoch_ms) / 1000, UTC):%Y-%m-%d %H:%M}"
