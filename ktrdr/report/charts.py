"""The charts of the page, as inline SVG. Colours come from the page's style sheet, by class."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ktrdr.report.drawing import Drawing, FloatArray, Scale, day, keep_extremes, line_path, round_marks, spanning

WIDTH = 900
_LEFT, _RIGHT, _TOP = 70, WIDTH - 12, 14
_N_CANDLES = 170
_MAX_MARKED_TRADES = 600  # of one fold: more would cover each other


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Equity at the close of every bar of the test blocks.

    Attributes:
        time: int64 (n,), open of the bar, which has the date that people give it, epoch ms UTC, ascending.
        equity: float64 (n,), the strategy's.
        held: float64 (n,), that of buy-and-hold; None where it is not stored.
        initial: Equity before the first bar.
    """

    time: NDArray[np.int64]
    equity: FloatArray
    held: FloatArray | None
    initial: float

    def fall(self, equity: FloatArray) -> FloatArray:
        """Return how far `equity` lies below its peak so far, as a fraction <= 0."""
        return equity / np.maximum.accumulate(np.append(self.initial, equity))[1:] - 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One test block: the bars of one symbol, and its trades in it.

    Attributes:
        fold: Its number.
        time: int64 (n,), opens of the bars, epoch ms UTC, ascending.
        prices: float64 (n, 4): open, high, low, close.
        is_long: bool (m,), of each trade.
        entry_time: int64 (m,), epoch ms UTC.
        exit_time: int64 (m,).
        entry_price: float64 (m,).
        exit_price: float64 (m,).
        net: float64 (m,), profit after costs.
        symbol: The instrument.
    """

    fold: int
    time: NDArray[np.int64]
    prices: FloatArray
    is_long: NDArray[np.bool_]
    entry_time: NDArray[np.int64]
    exit_time: NDArray[np.int64]
    entry_price: FloatArray
    exit_price: FloatArray
    net: FloatArray
    symbol: str


def equity_chart(curve: Curve) -> Markup:
    """Return the equity of the strategy beside that of buy-and-hold."""
    lowest = int(curve.equity.argmin())
    words = (
        f"From {curve.initial:,.0f} to {curve.equity[-1]:,.2f} between {day(int(curve.time[0]))} and "
        f"{day(int(curve.time[-1]))}; lowest {curve.equity[lowest]:,.2f} on {day(int(curve.time[lowest]))}, "
        f"highest {curve.equity.max():,.2f}."
    )
    if curve.held is not None:
        words += f" Buy-and-hold ends at {curve.held[-1]:,.2f}."
    drawing = Drawing(WIDTH, 300, key="equity", title="Equity, net of all costs", description=words)
    lines = [curve.equity] if curve.held is None else [curve.equity, curve.held]
    scale = spanning(np.concatenate([*lines, [curve.initial]]), 300 - 30, _TOP)
    drawing.value_axis(scale, round_marks(scale.low, scale.high, 6), ",.0f", _LEFT, _RIGHT)
    drawing.line("baseline", _LEFT, scale.at(curve.initial), _RIGHT, scale.at(curve.initial))
    _draw_over_time(drawing, curve, scale, curve.equity, curve.held)
    return drawing.markup()


def drawdown_chart(curve: Curve) -> Markup:
    """Return how far the equity lies below its peak so far, beside that of buy-and-hold."""
    fall = curve.fall(curve.equity)
    held = None if curve.held is None else curve.fall(curve.held)
    words = f"At worst {-fall.min():.2%} below the peak, on {day(int(curve.time[int(fall.argmin())]))}."
    if held is not None:
        words += f" Buy-and-hold at worst {-held.min():.2%}."
    drawing = Drawing(WIDTH, 180, key="drawdown", title="Drawdown from the peak so far", description=words)
    low = min(float(fall.min()), 0.0 if held is None else float(held.min()), -0.001)
    scale = Scale(low * 1.05, 0.0, 180 - 30, _TOP)
    drawing.value_axis(scale, round_marks(scale.low, scale.high, 4), ".1%", _LEFT, _RIGHT)
    _draw_over_time(drawing, curve, scale, fall, held)
    return drawing.markup()


def trades_chart(block: Block) -> Markup:
    """Return the bars of a test block as at most 170 candles, and its trades from entry to exit.

    Where there are more than 600 trades, those with the largest profit or loss are marked.
    """
    per_candle = math.ceil(len(block.time) / _N_CANDLES)
    shown = np.sort(np.argsort(-np.abs(block.net), kind="stable")[:_MAX_MARKED_TRADES])
    each = "each candle is one bar" if per_candle == 1 else f"each candle is {per_candle} bars"
    words = (
        f"{day(int(block.time[0]))} to {day(int(block.time[-1]))}, {each}. {len(block.net)} trades, "
        f"{int(block.is_long.sum())} of them long, {int((block.net > 0).sum())} with a profit."
    )
    if len(shown) < len(block.net):
        words += f" The {len(shown)} with the largest profit or loss are marked."
    height = 300
    title = f"Fold {block.fold}: bars and trades of {block.symbol}"
    drawing = Drawing(WIDTH, height, key=f"{block.symbol}-trades-{block.fold}", title=title, description=words)
    fills = np.concatenate([block.entry_price[shown], block.exit_price[shown]])
    scale = spanning(np.concatenate([block.prices[:, 2], block.prices[:, 1], fills]), height - 30, _TOP)
    marks = round_marks(scale.low, scale.high, 6)
    drawing.value_axis(scale, marks, f",.{_decimals(marks)}f", _LEFT, _RIGHT)
    across = Scale(0.0, float(len(block.time)), _LEFT, _RIGHT)
    _date_axis(drawing, across, block.time, height)
    _draw_candles(drawing, across, scale, block.prices, per_candle)
    _draw_trades(drawing, across, scale, block, shown)
    return drawing.markup()


def fuzzy_chart(key: str, name: str, sets: Mapping[str, tuple[str, tuple[float, ...]]]) -> Markup:
    """Return the membership functions of a fuzzy variable: `sets` has shape and points of each, in order."""
    low, high = _domain(sets)
    words = "; ".join(f"{each}: {kind} {_listed(points)}" for each, (kind, points) in sets.items())
    drawing = Drawing(440, 170, key=key, title=f"Fuzzy sets over {name}", description=words)
    across, up = Scale(low, high, 34, 428), Scale(0.0, 1.0, 140, 34)
    drawing.value_axis(up, [0.0, 0.5, 1.0], ".1f", 34, 428)
    for mark in round_marks(low, high, 5):
        drawing.text(across.at(mark), 158, f"{mark + 0.0:.6g}", anchor="middle")
    for number, (each, (kind, points)) in enumerate(sets.items()):
        x, degree = outline(kind, points, low, high)
        drawing.add("path", f"set set-{number % 6}", {"d": line_path(across(x), up(degree))})
        peak = float(across(x)[degree >= degree.max() - 1e-9].mean())
        # Two lines of names by turns: neighbours' peaks may be close.
        where = min(max(peak, 60.0), 400.0), 12 + 12 * (number % 2)
        drawing.text(*where, each, anchor="middle", style=f"name set-{number % 6}")
    return drawing.markup()


def outline(kind: str, points: tuple[float, ...], low: float, high: float) -> tuple[FloatArray, FloatArray]:
    """Return the corners (values and memberships) of a set's membership function between low and high."""
    if kind == "gaussian":
        x = np.linspace(low, high, 81)
        return x, np.exp(-0.5 * ((x - points[0]) / points[1]) ** 2)
    heights = {
        "triangle": (0.0, 1.0, 0.0),
        "trapezoid": (0.0, 1.0, 1.0, 0.0),
        "left_shoulder": (1.0, 0.0),
        "right_shoulder": (0.0, 1.0),
    }[kind]
    before = heights[0] if kind == "left_shoulder" else 0.0
    after = heights[-1] if kind == "right_shoulder" else 0.0
    x = np.array([low, points[0], *points, points[-1], high])
    return x, np.array([before, before, *heights, after, after])


def _draw_over_time(drawing: Drawing, curve: Curve, scale: Scale, values: FloatArray, held: FloatArray | None) -> None:
    across = Scale(float(curve.time[0]), float(max(curve.time[-1], curve.time[0] + 1)), _LEFT, _RIGHT)
    x = across(curve.time.astype(np.float64))
    for where in np.linspace(0, 1, 6):
        moment = int(across.low + where * (across.high - across.low))
        anchor = "start" if where == 0 else "end" if where == 1 else "middle"
        drawing.text(across.at(moment), drawing.height - 8, day(moment), anchor=anchor)
    for style, each in (("held", held), ("equity", values)):
        if each is not None:
            kept = keep_extremes(np.floor(x).astype(np.int64), each)
            drawing.add("path", f"curve {style}", {"d": line_path(x[kept], scale(each[kept]))})


def _date_axis(drawing: Drawing, across: Scale, time: NDArray[np.int64], height: int) -> None:
    for where in np.linspace(0, len(time) - 1, 6):
        anchor = "start" if where == 0 else "end" if where == len(time) - 1 else "middle"
        drawing.text(across.at(float(where)), height - 8, day(int(time[int(where)])), anchor=anchor)


def _draw_candles(drawing: Drawing, across: Scale, scale: Scale, prices: FloatArray, per_candle: int) -> None:
    starts = np.arange(0, len(prices), per_candle)
    stops = np.append(starts[1:], len(prices))
    high, low = np.maximum.reduceat(prices[:, 1], starts), np.minimum.reduceat(prices[:, 2], starts)
    first, last = prices[starts, 0], prices[stops - 1, 3]
    middle = across((starts + stops) / 2.0)
    half = max(0.6, (across.end - across.start) / len(prices) * per_candle * 0.35)
    for style, is_one in (("rising", last >= first), ("falling", last < first)):
        wicks = "".join(
            f"M{x:.1f} {top:.1f}V{bottom:.1f}"
            for x, top, bottom in zip(middle[is_one], scale(high[is_one]), scale(low[is_one]), strict=True)
        )
        tops, bottoms = scale(np.maximum(first, last)[is_one]), scale(np.minimum(first, last)[is_one])
        bodies = "".join(
            f"M{x - half:.1f} {top:.1f}h{2 * half:.1f}v{max(bottom - top, 0.5):.1f}h{-2 * half:.1f}z"
            for x, top, bottom in zip(middle[is_one], tops, bottoms, strict=True)
        )
        drawing.add("path", f"candle {style}", {"d": wicks + bodies})


def _draw_trades(drawing: Drawing, across: Scale, scale: Scale, block: Block, shown: NDArray[np.intp]) -> None:
    # A bar's fill lies at its left edge, as an open does; an exit within a bar lies where the bar ends.
    entry_x = across(np.searchsorted(block.time, block.entry_time[shown]).astype(np.float64))
    exit_x = across(np.searchsorted(block.time, block.exit_time[shown]).astype(np.float64))
    entry_y, exit_y = scale(block.entry_price[shown]), scale(block.exit_price[shown])
    ways = zip(entry_x.tolist(), entry_y.tolist(), exit_x.tolist(), exit_y.tolist(), strict=True)
    lines = [f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" for x1, y1, x2, y2 in ways]
    won = block.net[shown] > 0
    drawing.add("path", "trade won", {"d": "".join(np.array(lines, dtype=object)[won])})
    drawing.add("path", "trade lost", {"d": "".join(np.array(lines, dtype=object)[~won])})
    is_long = block.is_long[shown]
    for style, is_one, away in (("long", is_long, 1), ("short", ~is_long, -1)):
        marks = "".join(
            f"M{x:.1f} {y:.1f}l-4 {away * 8}h8z"
            for x, y in zip(entry_x[is_one].tolist(), entry_y[is_one].tolist(), strict=True)
        )
        drawing.add("path", f"entry {style}", {"d": marks})


def _domain(sets: Mapping[str, tuple[str, tuple[float, ...]]]) -> tuple[float, float]:
    reach: list[float] = []
    for kind, points in sets.values():
        reach += [points[0] - 3 * points[1], points[0] + 3 * points[1]] if kind == "gaussian" else points
    low, high = min(reach), max(reach)
    return low - 0.15 * (high - low), high + 0.15 * (high - low)


def _listed(points: tuple[float, ...]) -> str:
    return ", ".join(f"{point:.6g}" for point in points)


def _decimals(marks: list[float]) -> int:
    return next((digits for digits in range(8) if all(abs(round(m, digits) - m) < 1e-9 for m in marks)), 8)
