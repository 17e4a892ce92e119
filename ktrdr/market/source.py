"""Bars of a file, ready for the store: clocked by their sessions and divided into research and sealed bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ktrdr.market.bars import Bars, FloatArray
from ktrdr.market.calendar import FX, ROUND_THE_CLOCK, BarClock, IntArray, clock_bars, find_grid, load_sessions
from ktrdr.market.checks import SourceColumns, check_lone_spikes, check_spacing, find_order, read_columns
from ktrdr.market.costs import AssetClass
from ktrdr.market.inference import default_price_side, infer_asset_class, infer_calendar
from ktrdr.market.request import ImportRequest
from ktrdr.market.seal import FEWEST_SEALED_BARS, find_first_sealed_row
from ktrdr.market.series import PriceSide, SeriesSidecar
from ktrdr.market.snapshot import name_snapshot
from ktrdr.market.table import SourceTable, read_table
from ktrdr.market.timeframe import DAY_MS, HOUR_MS, MINUTE_MS
from ktrdr.market.timestamps import read_clock

EPOCH = date(1970, 1, 1)
FEWEST_RESEARCH_BARS = 50
MOST_OUTSIDE = 0.01  # share of research bars outside the sessions; beyond it the calendar is the wrong one
SPLIT_STEP = 0.2  # a day-to-day change of adj_close / close beyond this is a split, not a dividend
# No session is longer than a day: bars two days before the first sealed one belong to an earlier session.
LONGEST_SESSION_MS = 2 * DAY_MS


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A file whose every row was read and passed its checks, before any calendar is known."""

    table: SourceTable
    label: IntArray
    clock: str
    columns: SourceColumns

    def take(self, rows: IntArray) -> "Source":
        """Return the source of these rows, in this order."""
        return Source(self.table.take(rows), self.label[rows], self.clock, self.columns.take(rows))


@dataclass(frozen=True, slots=True, eq=False)
class Incoming:
    """Bars of a file as they would be stored, research and sealed apart, both named by their content."""

    file: str
    table: SourceTable  # of the rows that are kept: row i is the i-th bar, research and sealed counted through
    research: Bars
    sealed: Bars
    covered: tuple[int, int]  # labels of the file's first and last bar
    calendar: str
    clock: str
    adjustment: str
    price_side: PriceSide
    asset_class: AssetClass
    has_volume: bool
    sealed_from: date
    notices: list[str]


def read_source(path: Path, request: ImportRequest) -> Source:
    """Read a file and check every row for itself and against its neighbours.

    Raises:
        ImportRefused: Something cannot be read with certainty.
    """
    table = read_table(path, request.layout)
    clock = read_clock(table, request.timeframe, request.timezone)
    source = Source(table, clock.label, clock.description, read_columns(table))
    order = find_order(table, source.label, source.columns)
    if order is not None:
        source = source.take(order)
    check_spacing(source.table, source.label, request.timeframe)
    check_lone_spikes(source.table, source.columns, accepted=request.accept_findings)
    if request.adjust and source.columns.adj_close is None:
        raise table.refusal("has no column adj_close to adjust by")
    return source


def divide_source(
    source: Source,
    request: ImportRequest,
    known: Sequence[SeriesSidecar],
    *,
    sealed_from: date | None,
    now: datetime | None,
) -> Incoming:
    """Clock the bars and seal their end.

    Args:
        source: The file.
        request: What was said about it.
        known: Sidecars of the instrument's stored series: they fix its calendar.
        sealed_from: The instrument's sealed date; None before its first import.
        now: The present; a last bar not complete by then is left out. None when it is not known.

    Raises:
        ImportRefused: The bars do not fit their calendar, or leave too little for research.
        InvalidInput: The calendar does not reach so far.
    """
    notices = list(source.table.notices)
    first_sealed = _find_provisional_seal(source, sealed_from)
    before = source.label[: np.searchsorted(source.label, first_sealed - LONGEST_SESSION_MS)]
    calendar = _choose_calendar(source, request, known, before, notices)
    clock = _clock_source(source, request, calendar, notices)
    source, clock, idle_label = _leave_out(source, clock, now, notices)
    if sealed_from is None:
        row = min(int(np.searchsorted(source.label, first_sealed)), len(source.label) - 1)
        sealed_from = EPOCH + timedelta(days=int(clock.session_day[row]))
    sealed_day = (sealed_from - EPOCH).days
    n_research = int(np.searchsorted(clock.session_day, sealed_day))
    _check_research(source, request, known, n_research, sealed_from)
    _check_fit(source, calendar, np.flatnonzero(~clock.inside), n_research)
    n_idle = int((idle_label < sealed_day * DAY_MS).sum())
    if n_idle:
        notices.append(f"flat bars without volume outside every session of {calendar}, left out: {n_idle}")
    asset_class = known[0].asset_class if known else request.asset_class or infer_asset_class(calendar)
    price_side = _choose_price_side(source, request, known, asset_class, notices)
    bars = _make_bars(source, request, clock, price_side, n_research, notices)
    return Incoming(
        file=request.source or source.table.file,
        table=source.table,
        research=name_snapshot(bars.slice(0, n_research)),
        sealed=name_snapshot(bars.slice(n_research, len(bars))),
        covered=(int(source.label[0]), int(source.label[-1])),
        calendar=calendar,
        clock=source.clock,
        adjustment=_describe_adjustment(source, request, n_research, notices),
        price_side=price_side,
        asset_class=asset_class,
        has_volume=not bool(np.isnan(bars.volume).any()),
        sealed_from=sealed_from,
        notices=notices,
    )


def _find_provisional_seal(source: Source, sealed_from: date | None) -> int:
    """Return a time (epoch ms) from which bars are certainly sealed, before the sessions are known."""
    if sealed_from is not None:
        return (sealed_from - EPOCH).days * DAY_MS
    row = find_first_sealed_row(source.label)
    if row < FEWEST_RESEARCH_BARS:
        need = FEWEST_SEALED_BARS + FEWEST_RESEARCH_BARS
        raise source.table.refusal(
            f"need at least {need} bars for a first import, {FEWEST_SEALED_BARS} of which are sealed,"
            f" were {len(source.label)}"
        )
    return int(source.label[row])


def _choose_calendar(
    source: Source,
    request: ImportRequest,
    known: Sequence[SeriesSidecar],
    before_seal: IntArray,
    notices: list[str],
) -> str:
    if known:
        if request.calendar not in (None, known[0].calendar):
            raise source.table.refusal(
                f"{request.symbol} is stored with the calendar {known[0].calendar}, by whose sessions it is sealed;"
                f" it cannot become {request.calendar}. Leave --calendar out, or move the stored series away first"
            )
        return known[0].calendar
    if request.calendar is not None:
        return request.calendar
    calendar = infer_calendar(request.symbol, request.timeframe, before_seal)
    notices.append(f"calendar {calendar}: inferred from {len(before_seal)} research bars; --calendar says another")
    return calendar


def _leave_out(
    source: Source, clock: BarClock, now: datetime | None, notices: list[str]
) -> tuple[Source, BarClock, IntArray]:
    """Return the bars that are complete and trade, and the labels of those that fill a closed market."""
    idle = _find_idle(source, clock)
    left_out = _find_unfinished(source, clock, now, notices) | idle
    if not left_out.any():
        return source, clock, source.label[:0]
    if left_out.all():
        raise source.table.refusal("no bar is left: all of them are flat, without volume and outside every session")
    kept = np.flatnonzero(~left_out)
    return source.take(kept), clock.take(kept), source.label[idle]


def _clock_source(source: Source, request: ImportRequest, calendar: str, notices: list[str]) -> BarClock:
    label, timeframe = source.label, request.timeframe
    sessions = load_sessions(calendar, int(label[0]), int(label[-1]))
    grid = None if timeframe.is_daily else find_grid(label, timeframe, sessions)
    if grid is not None and grid.first_off_grid is not None:
        raise source.table.refusal(
            f"this {timeframe} bar does not open at the clock marks of the others", grid.first_off_grid
        )
    minutes = 0 if grid is None else grid.phase % min(timeframe.milliseconds, HOUR_MS) / MINUTE_MS
    if minutes and calendar in (FX, ROUND_THE_CLOCK):
        notices.append(
            f"bars open {minutes:g} minutes after the marks of {timeframe}: check whether their times are right"
        )
    return clock_bars(label, timeframe, sessions, grid)


def _find_unfinished(source: Source, clock: BarClock, now: datetime | None, notices: list[str]) -> NDArray[np.bool_]:
    """Return which bar is not complete yet: at most the last one, or the file's clock is wrong."""
    if now is None:
        return np.zeros(len(source.label), dtype=np.bool_)
    now_ms = now.timestamp() * 1000
    unfinished = clock.known_at > now_ms
    if source.label[-1] > now_ms:
        row = int(np.argmax(source.label > now_ms))
        raise source.table.refusal(
            f"this bar begins in the future, it is {now:%Y-%m-%d %H:%M} UTC: check --timezone", row
        )
    if unfinished.sum() > 1:
        raise source.table.refusal(
            f"this bar and later ones are not complete at {now:%Y-%m-%d %H:%M} UTC: check --timezone",
            int(np.argmax(unfinished)),
        )
    if unfinished.any():
        notices.append(f"the last bar, {source.table.where(len(unfinished) - 1)}, is not complete yet: left out")
    return unfinished


def _find_idle(source: Source, clock: BarClock) -> NDArray[np.bool_]:
    """Return the bars by which some sources fill a closed market: flat, without volume, outside every session."""
    columns = source.columns
    idle: NDArray[np.bool_] = ~clock.inside & (columns.high == columns.low)
    return idle if columns.volume is None else idle & (columns.volume == 0)


def _check_research(
    source: Source,
    request: ImportRequest,
    known: Sequence[SeriesSidecar],
    n_research: int,
    sealed_from: date,
) -> None:
    is_stored = any(sidecar.timeframe is request.timeframe for sidecar in known)
    if is_stored or n_research >= FEWEST_RESEARCH_BARS:
        return
    is_fixed = known or request.alias_of
    reason = "by its first import, in every timeframe" if is_fixed else "as the later part of this first import"
    raise source.table.refusal(
        f"need at least {FEWEST_RESEARCH_BARS} bars for research, were {n_research}: sessions of {request.symbol}"
        f" from {sealed_from} on are sealed, {reason}. Import a longer history"
    )


def _check_fit(source: Source, calendar: str, outside: IntArray, n_research: int) -> None:
    outside = outside[outside < n_research]
    if len(outside) > MOST_OUTSIDE * n_research:
        raise source.table.refusal(
            f"{len(outside)} of {n_research} research bars lie outside the sessions of {calendar}, this one first:"
            " check --calendar and --timezone; hours before and after the session are not covered",
            int(outside[0]),
        )


def _choose_price_side(
    source: Source,
    request: ImportRequest,
    known: Sequence[SeriesSidecar],
    asset_class: AssetClass,
    notices: list[str],
) -> PriceSide:
    if request.price_side is not None:
        return request.price_side
    stored = next((sidecar for sidecar in known if sidecar.timeframe is request.timeframe), None)
    if source.columns.half_spread_bps is not None:
        side: PriceSide = "mid"
        reason = "the file has a spread column"
    elif stored is not None:
        return stored.price_side
    else:
        side = default_price_side(asset_class)
        reason = f"the usual one for {asset_class}"
    notices.append(f"price side {side}: assumed, {reason}; --price-side says another")
    return side


def _make_bars(
    source: Source,
    request: ImportRequest,
    clock: BarClock,
    price_side: PriceSide,
    n_research: int,
    notices: list[str],
) -> Bars:
    columns = source.columns
    factor = _find_adjustment(source, n_research) if request.adjust else np.ones(len(source.label))
    volume = columns.volume
    if volume is None:
        notices.append("no volume: indicators that need it cannot be used")
    elif n_research and not volume[:n_research].any():
        notices.append("volume is zero in every research bar: taken as none")
        volume = None
    half_spread = columns.half_spread_bps
    if half_spread is not None and price_side != "mid":
        notices.append(f"spread column not used: prices are {price_side}, and a half spread needs mid prices")
        half_spread = None
    return Bars(
        symbol=request.symbol,
        timeframe=request.timeframe,
        snapshot="",
        timestamp=source.label,
        known_at=clock.known_at,
        session_day=clock.session_day,
        open=columns.open * factor,
        high=columns.high * factor,
        low=columns.low * factor,
        close=columns.close * factor,
        # Zero is added so that -0.0 and 0.0, equal bars, give equal hashes; NaN likewise has one form.
        volume=np.full(len(source.label), np.nan) if volume is None else volume / factor + 0.0,
        half_spread_bps=None if half_spread is None else half_spread + 0.0,
    )


def _find_adjustment(source: Source, n_research: int) -> FloatArray:
    """Return adj_close / close, one at the last research bar.

    Anchored there, no research price depends on a split or dividend of the sealed years, and the last research bars
    stand at the prices that were traded.
    """
    assert source.columns.adj_close is not None
    if n_research == 0:
        raise source.table.refusal("prices can be adjusted only over a file that holds research bars")
    factor: FloatArray = source.columns.adj_close / source.columns.close
    return factor / float(factor[n_research - 1])


def _describe_adjustment(source: Source, request: ImportRequest, n_research: int, notices: list[str]) -> str:
    if request.adjust:
        return (
            "splits and dividends: prices x adj_close / close, rebased to 1 at the last research bar;"
            " volume divided by the same factor, so that price x volume is as published"
        )
    adjusted = source.columns.adj_close
    if adjusted is not None:
        ratio = adjusted[:n_research] / source.columns.close[:n_research]
        splits = np.flatnonzero(np.abs(np.diff(np.log(ratio))) > SPLIT_STEP) + 1
        note = "column adj_close not applied: prices are taken as they stand"
        if len(splits):
            day = datetime.fromtimestamp(int(source.label[splits[0]]) / 1000, UTC).date()
            note += (
                f". It shows {len(splits)} split(s), the first on {day}: the price jumps there without a loss"
                " or gain. Import with adjusted prices instead"
            )
        notices.append(note)
    return request.adjustment or "as in the file"
