"""The bar engine: one symbol, arrays in, trades and equity out, compiled by numba.

The order of events in a bar of a fold:

1. at its open, what the previous close decided: first the exit (signal or maximum holding), then the entry;
2. within it, the stops, measured from the fill price and live from the entry bar: a gap fills at the open, and a
   bar that touches both fills at the stop;
3. at its close, equity is marked (<= 0 is ruin and closes the position there), the fold's last bar closes it too,
   and otherwise the next decision is taken.

Fills happen at the bars' own prices; commission, half spread and slippage are paid on the notional of every fill,
financing accrues while a position is held. Nothing is carried from one fold to the next except equity.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ktrdr.backtest.outcome import LONG, SHORT, ExitReason
from ktrdr.statistics.returns import MILLISECONDS_PER_YEAR, FloatArray

FLAT = 0  # beside LONG and SHORT
LONG_ONLY, SHORT_ONLY, BOTH = 1, -1, 0
NO_MAX_HOLDING = 2**62
_BASIS_POINT = 1e-4
_BARS_OF_ROOM = 4  # for a trade, at first
_HOLD = 0
# numba compiles plain integers faster than an enum's members.
_SIGNAL, _STOP, _TARGET, _MAX_HOLDING, _FOLD_END, _RUIN = (int(reason) for reason in ExitReason)

TRADE = np.dtype(
    [
        ("entry_bar", np.int64),
        ("exit_bar", np.int64),
        ("bars_held", np.int64),  # bars whose open-to-close the position saw, in part or whole
        ("entry_price", np.float64),
        ("exit_price", np.float64),
        ("quantity", np.float64),  # > 0; `side` holds the sign
        ("entry_equity", np.float64),  # equity at the fill, before its costs
        ("gross", np.float64),
        ("costs", np.float64),
        ("financing", np.float64),
        ("net", np.float64),
        ("side", np.int8),
        ("reason", np.int8),  # an ExitReason
        ("exit_at_open", np.bool_),
    ],
    align=True,
)
TradeRecords = np.ndarray[tuple[int], np.dtype[np.void]]
NOTHING_WANTED: FloatArray = np.empty(0)
"""No exposures of bars: every entry takes `Rules.exposure`."""


class Market(NamedTuple):
    """What the engine reads of the bars; every array has n_bars entries, or none where a line says so."""

    timestamp: NDArray[np.int64]  # bar open, epoch ms; may be empty where holding costs nothing
    known_at: NDArray[np.int64]  # bar complete, epoch ms; may be empty where holding costs nothing
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    probability: FloatArray  # at the bar's close; read inside the folds only
    atr: FloatArray  # of bars up to and including t; empty where there is neither stop nor target
    half_spread_bps: FloatArray  # added to Charges.fill_bps; empty where the cost model holds it


class Rules(NamedTuple):
    """One parameter set. `math.inf` is no stop or target, `NO_MAX_HOLDING` no limit."""

    enter: float
    exit: float
    direction: int  # LONG_ONLY, SHORT_ONLY or BOTH
    exposure: float  # fraction of equity at the fill, at most
    stop_loss_atr: float
    take_profit_atr: float
    max_holding_bars: int
    min_bars_between_trades: int


class Charges(NamedTuple):
    """What fills and holding cost: basis points of a fill's notional, fractions of notional a year."""

    fill_bps: float
    financing_long: float
    financing_short: float


class Position(NamedTuple):
    """An open position's terms; an immutable tuple, which numba keeps in registers."""

    side: int
    entry_bar: int
    entry_price: float
    quantity: float  # > 0; `side` holds the sign
    entry_equity: float  # at the fill, before its costs
    entry_cost: float
    stop: float
    target: float


class Exit(NamedTuple):
    """How a position ended; `financing` is all that it paid."""

    bar: int
    reason: int
    price: float
    at_open: bool
    financing: float


@dataclass(frozen=True, slots=True)
class Simulation:
    """`trades`: (n_trades,) of dtype TRADE, in time order. `equity`: (n_bars,), NaN outside folds.

    `equity` is marked at each bar's close after all fills of the bar.
    """

    trades: TradeRecords
    equity: FloatArray

    @property
    def position(self) -> FloatArray:
        """The signed quantity held at each bar's close, (n_bars,); made from the trades on every call."""
        changes = np.column_stack((self.trades["entry_bar"], self.trades["exit_bar"])).ravel()
        runs = np.diff(changes, prepend=0, append=len(self.equity))  # flat, held, flat, held ... flat
        quantities = np.zeros(len(runs))
        quantities[1::2] = self.trades["side"] * self.trades["quantity"]
        return np.repeat(quantities, runs)


def simulate(
    market: Market,
    rules: Rules,
    charges: Charges,
    folds: NDArray[np.int64],
    *,
    wanted_exposure: FloatArray = NOTHING_WANTED,
    initial_equity: float,
) -> Simulation:
    """Trade one parameter set over the folds, one after the other, on one account.

    Args:
        market: Bars, probabilities and ATR; NaN-free inside the folds (the caller checks).
        rules: The parameter set.
        charges: Costs and financing.
        folds: (n_folds, 2) int64: first bar and one past the last bar of each fold, in order, apart.
        wanted_exposure: (n_bars,) fraction of equity that a decision of the bar wants, bounded by `Rules.exposure`;
            empty where that alone holds.
        initial_equity: In quote currency; > 0.

    Raises:
        ValueError: Holding costs something and the bars have no times.
    """
    equity = np.empty(len(market.close))
    for outside in np.split(equity, folds.ravel())[::2]:
        outside.fill(np.nan)
    n_in_folds = int((folds[:, 1] - folds[:, 0]).sum())
    # There may be a trade a bar, hardly ever is, and fresh memory costs more than the work: little room is tried first.
    for room in (n_in_folds // _BARS_OF_ROOM, n_in_folds):
        trades = np.empty(room, dtype=TRADE)
        n_trades = _simulate(
            _as_compiled(market, charges),
            _read_only(wanted_exposure),
            rules,
            Charges._make(float(charge) for charge in charges),
            folds,
            float(initial_equity),
            trades,
            equity,
        )
        if n_trades <= room:
            break
    trades.resize(n_trades)
    return Simulation(trades=trades, equity=equity)


def simulate_turned(
    market: Market,
    rules: Rules,
    charges: Charges,
    folds: NDArray[np.int64],
    *,
    offsets: NDArray[np.int64],
    marks: NDArray[np.intp],
    wanted_exposure: FloatArray = NOTHING_WANTED,
    initial_equity: float,
) -> FloatArray:
    """Trade the same probabilities at other times: turned around each fold's own block, draw after draw.

    Args:
        market: As for `simulate`.
        rules: As for `simulate`.
        charges: As for `simulate`.
        folds: As for `simulate`.
        offsets: (n_draws, n_folds) bars by which a fold's probabilities come later; its last ones come first then.
        marks: Bars at whose close the equity is wanted.
        wanted_exposure: As for `simulate`; it stays with its bars, only the probabilities are turned.
        initial_equity: In quote currency; > 0.

    Returns:
        Equity (n_draws, n_marks).
    """
    probability = np.array(market.probability)
    turned = _as_compiled(market._replace(probability=probability), charges)
    trades = np.empty(int((folds[:, 1] - folds[:, 0]).sum()), dtype=TRADE)
    equity = np.empty(len(probability))
    marked = np.empty((len(offsets), len(marks)))
    charges = Charges._make(float(charge) for charge in charges)
    wanted_exposure = _read_only(wanted_exposure)
    for draw, by_fold in enumerate(offsets):
        for (first, stop), offset in zip(folds, by_fold, strict=True):
            probability[first : first + offset] = market.probability[stop - offset : stop]
            probability[first + offset : stop] = market.probability[first : stop - offset]
        _simulate(turned, wanted_exposure, rules, charges, folds, float(initial_equity), trades, equity)
        marked[draw] = equity[marks]
    return marked


def _as_compiled(market: Market, charges: Charges) -> Market:
    if len(market.timestamp) == 0:
        if charges.financing_long != 0 or charges.financing_short != 0:
            raise ValueError(f"need the times of the bars where holding costs something, was none for {charges!r}")
        # The kernel multiplies a span of time by a rate of nothing, which is faster than asking: any numbers will do.
        any_times = np.ascontiguousarray(market.close).view(np.int64)
        market = market._replace(timestamp=any_times, known_at=any_times)
    return Market._make(_read_only(column) for column in market)


def _read_only(column: NDArray[Any]) -> NDArray[Any]:
    # numba compiles once per combination of writable and read-only, contiguous and strided: hand it one only.
    view = np.ascontiguousarray(column).view()
    view.flags.writeable = False
    return view


@njit(cache=True, nogil=True, error_model="numpy")
def _simulate(
    market: Market,
    wanted_exposure: FloatArray,  # no part of the market: one more array there costs a quarter of the speed
    rules: Rules,
    charges: Charges,
    folds: NDArray[np.int64],
    initial_equity: float,
    trades: TradeRecords,
    equity: FloatArray,
) -> int:
    # Returns the number of trades; more than `trades` has room for if that was not enough.
    n_trades = 0
    balance = initial_equity
    for fold in range(folds.shape[0]):
        first, stop = folds[fold, 0], folds[fold, 1]
        n_trades, balance = _simulate_fold(
            market, wanted_exposure, rules, charges, first, stop, n_trades, balance, trades, equity
        )
        if n_trades > len(trades):
            break
    return n_trades


@njit(cache=True, nogil=True, error_model="numpy")
def _simulate_fold(
    market: Market,
    wanted_exposure: FloatArray,
    rules: Rules,
    charges: Charges,
    first: int,
    stop: int,
    n_trades: int,
    balance: float,
    trades: TradeRecords,
    equity: FloatArray,
) -> tuple[int, float]:
    entry_due = FLAT  # decided at the previous close
    exit_bar = first - NO_MAX_HOLDING
    bar = first
    while bar < stop:
        if entry_due != FLAT and balance > 0.0 and _is_rested(bar - exit_bar, rules):
            if n_trades == len(trades):
                return n_trades + 1, balance
            # The decision bar's: the range of the entry bar is not known at its open.
            atr = market.atr[bar - 1] if len(market.atr) > 0 else 0.0
            exposure = rules.exposure
            if len(wanted_exposure) > 0:
                exposure = min(exposure, wanted_exposure[bar - 1])
            fill_bps = _fill_bps(market, charges, bar)
            held = _open(bar, market.open[bar], atr, entry_due, exposure * balance, balance, fill_bps, rules)
            leave, entry_due = _hold(held, market, rules, charges, stop, equity)
            balance = _record(trades[n_trades], held, leave, _fill_bps(market, charges, leave.bar))
            n_trades += 1
            bar = exit_bar = leave.bar
            if leave.reason == _SIGNAL or leave.reason == _MAX_HOLDING:
                continue  # the bar has only just opened: a reversal may fill at the same open
        equity[bar] = balance
        entry_due = _wanted_side(market.probability[bar], rules)
        bar += 1
    return n_trades, balance


# Helpers are inlined: numba counts a reference for every array that crosses a call, which costs more than the work.
@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _fill_bps(market: Market, charges: Charges, bar: int) -> float:
    return charges.fill_bps + (market.half_spread_bps[bar] if len(market.half_spread_bps) > 0 else 0.0)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _hold(
    held: Position,
    market: Market,
    rules: Rules,
    charges: Charges,
    stop: int,
    equity: FloatArray,
) -> tuple[Exit, int]:
    # Returns the exit and the side to enter at the same open. Marks every bar that closes with the position held.
    rate = charges.financing_long if held.side == LONG else charges.financing_short
    financing = 0.0
    bar = held.entry_bar
    since, value = market.timestamp[bar], held.quantity * held.entry_price
    while True:
        reason, price, at_open = _exit_within(held, market.open[bar], market.high[bar], market.low[bar])
        if rate != 0.0:
            until = market.timestamp[bar] if at_open else market.known_at[bar]
            financing += value * rate * (until - since) / MILLISECONDS_PER_YEAR
            since, value = market.known_at[bar], held.quantity * market.close[bar]
        if reason == _HOLD:
            price = market.close[bar]
            marked = _mark(held, price) - financing
            reason = _exit_at_close(marked, bar == stop - 1)
            equity[bar] = marked
        if reason != _HOLD:
            return Exit(bar, reason, price, at_open, financing), FLAT
        bar += 1
        reason, entry_due = _decide(market.probability[bar - 1], held, bar, rules)
        if reason != _HOLD:
            financing += value * rate * (market.timestamp[bar] - since) / MILLISECONDS_PER_YEAR
            return Exit(bar, reason, market.open[bar], True, financing), entry_due


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _wanted_side(probability: float, rules: Rules) -> int:
    # `probability` is P(up) in direction both, else P(the trade of the one direction wins).
    if probability >= rules.enter:
        return SHORT if rules.direction == SHORT_ONLY else LONG
    if rules.direction == BOTH and 1.0 - probability >= rules.enter:
        return SHORT
    return FLAT


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _decide(probability: float, held: Position, next_bar: int, rules: Rules) -> tuple[int, int]:
    # What is due at the next open: an exit's reason, the side of a reversal.
    conviction = 1.0 - probability if rules.direction == BOTH and held.side == SHORT else probability
    if conviction < rules.exit:
        reason = _SIGNAL
    elif next_bar - held.entry_bar >= rules.max_holding_bars:
        reason = _MAX_HOLDING
    else:
        return _HOLD, FLAT
    wanted = _wanted_side(probability, rules)
    # A reversal fills at the same open; the same side again has to be wanted at a later close.
    return reason, wanted if wanted == -held.side else FLAT


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _is_rested(bars_since_exit: int, rules: Rules) -> bool:
    # Full bars between the exit's bar and the entry's; none for a reversal at the same open.
    return max(bars_since_exit - 1, 0) >= rules.min_bars_between_trades


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _open(
    bar: int, price: float, atr: float, side: int, notional: float, balance: float, fill_bps: float, rules: Rules
) -> Position:
    stop, target = -side * math.inf, side * math.inf
    if rules.stop_loss_atr < math.inf:
        stop = price - side * rules.stop_loss_atr * atr
    if rules.take_profit_atr < math.inf:
        target = price + side * rules.take_profit_atr * atr
    cost = notional * fill_bps * _BASIS_POINT
    return Position(side, bar, price, notional / price, balance, cost, stop, target)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _exit_within(held: Position, open_: float, high: float, low: float) -> tuple[int, float, bool]:
    # Seen from the position: a short's prices are mirrored, so that its stop lies below and its target above.
    worst, best = (low, high) if held.side == LONG else (-high, -low)
    stop, target, start = held.side * held.stop, held.side * held.target, held.side * open_
    if start <= stop:
        return _STOP, open_, True
    if start >= target:
        return _TARGET, open_, True
    if worst <= stop:
        return _STOP, held.stop, False
    if best >= target:
        return _TARGET, held.target, False
    return _HOLD, 0.0, False


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _exit_at_close(marked: float, is_last_of_fold: bool) -> int:
    if marked <= 0.0:
        return _RUIN
    return _FOLD_END if is_last_of_fold else _HOLD


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _mark(held: Position, price: float) -> float:
    return held.entry_equity - held.entry_cost + held.side * held.quantity * (price - held.entry_price)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _record(trade: np.void, held: Position, leave: Exit, fill_bps: float) -> float:
    # Writes the finished trade; returns the account's equity after it.
    gross = held.side * held.quantity * (leave.price - held.entry_price)
    costs = held.entry_cost + held.quantity * leave.price * fill_bps * _BASIS_POINT
    net = gross - costs - leave.financing
    trade["entry_bar"] = held.entry_bar
    trade["exit_bar"] = leave.bar
    trade["bars_held"] = leave.bar - held.entry_bar + (0 if leave.at_open else 1)
    trade["entry_price"] = held.entry_price
    trade["exit_price"] = leave.price
    trade["quantity"] = held.quantity
    trade["entry_equity"] = held.entry_equity
    trade["gross"] = gross
    trade["costs"] = costs
    trade["financing"] = leave.financing
    trade["net"] = net
    trade["side"] = held.side
    trade["reason"] = leave.reason
    trade["exit_at_open"] = leave.at_open
    return held.entry_equity + net


def simulate_many(
    market: Market,
    rules: Iterable[Rules],
    charges: Charges,
    folds: NDArray[np.int64],
    *,
    wanted_exposure: FloatArray = NOTHING_WANTED,
    initial_equity: float,
) -> Iterator[Simulation]:
    """Trade one parameter set after the other over the same bars.

    Arguments as for `simulate`, whose result is yielded for each, bit for bit. It is a view of memory that the next set
    overwrites: fresh pages for every set would cost a third of the time.
    """
    compiled = _as_compiled(market, charges)
    wanted_exposure = _read_only(wanted_exposure)
    charges = Charges._make(float(charge) for charge in charges)
    trades = np.empty(int((folds[:, 1] - folds[:, 0]).sum()), dtype=TRADE)
    equity = np.full(len(market.close), np.nan)
    for each in rules:
        n_trades = _simulate(compiled, wanted_exposure, each, charges, folds, float(initial_equity), trades, equity)
        yield Simulation(trades[:n_trades], equity)
