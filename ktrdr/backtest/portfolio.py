"""One account over several symbols: each trades an equal share of it by itself, and the equity is their sum."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.engine import LONG_ONLY, NO_MAX_HOLDING, Rules, Simulation, simulate, simulate_many
from ktrdr.backtest.engine_inputs import EngineInputs, prepare_engine
from ktrdr.backtest.outcome import INITIAL_EQUITY, EquityCurve, ExitReason, Trades
from ktrdr.errors import OperationFailed
from ktrdr.market.bars import Bars
from ktrdr.market.costs import CostModel
from ktrdr.statistics.returns import FloatArray
from ktrdr.strategy.specification import StrategySpecification

IntArray = NDArray[np.int64]

_HOLD_THE_MARKET = Rules(
    enter=0.0,
    exit=0.0,
    direction=LONG_ONLY,
    exposure=1.0,
    stop_loss_atr=np.inf,
    take_profit_atr=np.inf,
    max_holding_bars=NO_MAX_HOLDING,
    min_bars_between_trades=0,
)
Simulate = Callable[[EngineInputs, float], Simulation]
"""Trades a symbol's inputs from an initial equity, in quote currency."""


@dataclass(frozen=True, slots=True, eq=False)
class TradedSeries:
    """What one symbol brings to a backtest.

    Attributes:
        bars: Bars before the first test block too: the ATR of the stops needs them.
        probability: (n_bars,) probability of class 1, known at the bar's close; NaN outside the folds.
        fold: int8 (n_bars,) number of the fold that a bar is a test bar of, 0 for none.
        costs: What each fill and holding cost.
    """

    bars: Bars
    probability: FloatArray
    fold: NDArray[np.int8]
    costs: CostModel


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """One symbol's part of the account, ready to be traded.

    Attributes:
        series: What it trades.
        inputs: What the engine takes.
        last_bar: int64 (n_rows,), position in `inputs.window` of the last bar up to each row of the portfolio's
            timeline; -1 before the first.
    """

    series: TradedSeries
    inputs: EngineInputs
    last_bar: IntArray

    @property
    def symbol(self) -> str:
        """The instrument."""
        return self.series.bars.symbol

    def along_timeline(self, equity: FloatArray, initial_equity: float) -> FloatArray:
        """Return (n_rows,) the last known mark of (n_bars,) equity at each row of the timeline."""
        marks = np.append(equity[self.inputs.window], initial_equity)  # -1 is the last: nothing is known before
        return marks[self.last_bar]


@dataclass(frozen=True, slots=True, eq=False)
class Portfolio:
    """The shares of an account, in order of their symbols, over the times at which any of them has a test bar.

    A session day ends when the first of the symbols ends it: a bar that opens after it belongs to the next one.

    Attributes:
        shares: One per symbol.
        timestamp: int64 (n_rows,), opens of bars, each once, epoch ms UTC, ascending.
        known_at: int64 (n_rows,), when all bars of that open are complete.
        session_day: int32 (n_rows,), days since 1970-01-01, never decreasing.
        fold: int8 (n_rows,).
    """

    shares: tuple[Share, ...]
    timestamp: IntArray
    known_at: IntArray
    session_day: NDArray[np.int32]
    fold: NDArray[np.int8]

    @property
    def share_equity(self) -> float:
        """The equity that each share begins with."""
        return INITIAL_EQUITY / len(self.shares)

    @property
    def bars(self) -> tuple[Bars, ...]:
        """The bars of every symbol."""
        return tuple(share.series.bars for share in self.shares)

    @property
    def n_folds(self) -> int:
        """The number of folds."""
        return len(np.unique(self.fold))

    def sum_of(self, equities: Sequence[FloatArray]) -> FloatArray:
        """Return (n_rows,) the account's equity from (n_bars,) equities of the shares."""
        if len(self.shares) == 1:  # its bars are the timeline
            return equities[0][self.shares[0].inputs.window]
        marks = [
            share.along_timeline(equity, self.share_equity) for share, equity in zip(self.shares, equities, strict=True)
        ]
        total: FloatArray = np.sum(marks, axis=0)
        return total

    def simulate(self, trade: Simulate) -> "PortfolioRun":
        """Trade every share from its part of the account; the ruin of the whole ends everything at that moment."""
        run = PortfolioRun(self, tuple(trade(share.inputs, self.share_equity) for share in self.shares))
        return self._ended_by_ruin(run, trade)

    def simulate_many(self, rules: Sequence[Rules]) -> Iterator["PortfolioRun"]:
        """Trade one parameter set after the other, with the sizing and the ranges that all shares were prepared for.

        A run is a view of memory that the next one overwrites.
        """
        runs = [
            simulate_many(
                share.inputs.market,
                rules,
                share.inputs.charges,
                share.inputs.folds,
                wanted_exposure=share.inputs.wanted_exposure,
                initial_equity=self.share_equity,
            )
            for share in self.shares
        ]
        for each, simulations in zip(rules, zip(*runs, strict=True), strict=True):
            yield self._ended_by_ruin(PortfolioRun(self, simulations), partial(_trade, rules=each))

    def _ended_by_ruin(self, run: "PortfolioRun", trade: Simulate) -> "PortfolioRun":
        if len(self.shares) == 1:  # the engine ends it
            return run
        ruined = np.flatnonzero(run.equity <= 0.0)
        return self._until(int(ruined[0]), trade) if len(ruined) else run

    def _until(self, row: int, trade: Simulate) -> "PortfolioRun":
        # Traded again up to that row: positions are closed at the last bar before it, and nothing is opened after.
        simulations = []
        for share in self.shares:
            stop = int(share.inputs.window[share.last_bar[row]]) + 1 if share.last_bar[row] >= 0 else 0
            folds = np.minimum(share.inputs.folds, stop)
            folds = folds[folds[:, 0] < folds[:, 1]]
            ended = trade(replace(share.inputs, folds=folds), self.share_equity)
            equity, trades = ended.equity.copy(), ended.trades.copy()
            after = share.inputs.window[max(int(share.last_bar[row]) + 1, 0) :]
            equity[after] = equity[stop - 1] if stop else self.share_equity
            last = (trades["exit_bar"] == stop - 1) & (trades["reason"] == ExitReason.FOLD_END)
            trades["reason"][last] = ExitReason.RUIN
            simulations.append(Simulation(trades, equity))
        return PortfolioRun(self, tuple(simulations))


@dataclass(frozen=True, slots=True, eq=False)
class PortfolioRun:
    """What trading the shares of a portfolio came to: one simulation each, in the portfolio's order."""

    portfolio: Portfolio
    simulations: tuple[Simulation, ...]

    @property
    def equity(self) -> FloatArray:
        """(n_rows,) the account's equity along the timeline."""
        return self.portfolio.sum_of([each.equity for each in self.simulations])

    def curve(self) -> EquityCurve:
        """Return the account along the timeline."""
        portfolio = self.portfolio
        held = [
            np.append(simulation.position[share.inputs.window], 0.0)[share.last_bar]
            for share, simulation in zip(portfolio.shares, self.simulations, strict=True)
        ]
        return EquityCurve(
            timestamp=portfolio.timestamp,
            known_at=portfolio.known_at,
            session_day=portfolio.session_day,
            fold=portfolio.fold,
            position=held[0] if len(held) == 1 else np.column_stack(held),
            equity=self.equity,
        )

    def trades(self) -> Trades:
        """Return the trades of all shares, in order of their entries."""
        parts = [self._trades_of(place) for place in range(len(self.simulations))]
        if len(parts) == 1:
            return Trades(**parts[0])
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.lexsort((joined["symbol"], joined["entry_time"]))
        return Trades(**{name: column[order] for name, column in joined.items()})

    def _trades_of(self, place: int) -> Mapping[str, NDArray[Any]]:
        share, simulation = self.portfolio.shares[place], self.simulations[place]
        # Contiguous copies: the records interleave the columns.
        records = {name: simulation.trades[name].copy() for name in simulation.trades.dtype.names or ()}
        entry_bar, exit_bar, at_open = (records.pop(name) for name in ("entry_bar", "exit_bar", "exit_at_open"))
        bars = share.series.bars
        entry_time = bars.timestamp[entry_bar]
        return {
            **records,
            "symbol": np.full(len(entry_bar), share.symbol),
            "fold": share.series.fold[entry_bar].astype(np.int8),
            "entry_time": entry_time,
            "exit_time": np.where(at_open, bars.timestamp[exit_bar], bars.known_at[exit_bar]),
            "account_equity": records["entry_equity"] + self._held_by_others(place, entry_time),
            "window_bars": np.full(len(entry_bar), len(share.inputs.window), dtype=np.int64),
        }

    def _held_by_others(self, place: int, at: IntArray) -> FloatArray:
        """Return the last marks of all other shares at some times, summed."""
        total = np.zeros(len(at))
        for number, (share, simulation) in enumerate(zip(self.portfolio.shares, self.simulations, strict=True)):
            if number == place:
                continue
            window = share.inputs.window
            known = np.searchsorted(share.series.bars.known_at[window], at, side="right") - 1
            total += np.append(simulation.equity[window], self.portfolio.share_equity)[known]
        return total


def prepare_portfolio(specification: StrategySpecification, series: Sequence[TradedSeries]) -> Portfolio:
    """Check what comes in and lay it out for the engine, a symbol at a time; errors as of `run_backtest`.

    Args:
        specification: Whose `decision` and `risk` are followed.
        series: One per symbol, in any order; folds are of the same dates in all of them.
    """
    for each in series:
        if not len(each.bars) == len(each.probability) == len(each.fold):
            lengths = (len(each.bars), len(each.probability), len(each.fold))
            raise ValueError(f"need one prediction and one fold per bar, was bars, predictions, folds {lengths}")
    ordered = sorted(series, key=lambda each: each.bars.symbol)
    inputs = [prepare_engine(specification, each.bars, each.probability, each.fold, each.costs) for each in ordered]
    pairs = list(zip(ordered, inputs, strict=True))
    opens = np.concatenate([each.bars.timestamp[of.window] for each, of in pairs])
    known = np.concatenate([each.bars.known_at[of.window] for each, of in pairs])
    days = np.concatenate([each.bars.session_day[of.window] for each, of in pairs])
    folds = np.concatenate([each.fold[of.window] for each, of in pairs])
    timestamp, first, row = np.unique(opens, return_index=True, return_inverse=True)
    known_at, session_day = known[first], days[first].astype(np.int32)
    np.maximum.at(known_at, row, known)
    np.maximum.at(session_day, row, days)
    return Portfolio(
        shares=tuple(
            Share(each, of, np.searchsorted(each.bars.timestamp[of.window], timestamp, side="right") - 1)
            for each, of in pairs
        ),
        timestamp=timestamp,
        known_at=known_at,
        session_day=np.maximum.accumulate(session_day),
        fold=folds[first].astype(np.int8),
    )


def trade_strategy(portfolio: Portfolio) -> PortfolioRun:
    """Trade the strategy's own rules and sizing in every share; the baselines are held against it."""
    return portfolio.simulate(lambda inputs, equity: _trade(inputs, equity, rules=inputs.rules))


def _trade(inputs: EngineInputs, initial_equity: float, *, rules: Rules) -> Simulation:
    return simulate(
        inputs.market,
        rules,
        inputs.charges,
        inputs.folds,
        wanted_exposure=inputs.wanted_exposure,
        initial_equity=initial_equity,
    )


def hold_market(portfolio: Portfolio) -> PortfolioRun:
    """Hold every symbol with its whole share, from the second bar of each fold to its end, with all costs."""
    return portfolio.simulate(
        lambda inputs, equity: simulate(
            inputs.market, _HOLD_THE_MARKET, inputs.charges, inputs.folds, initial_equity=equity
        )
    )


def require_days(portfolio: Portfolio) -> None:
    """Return if daily returns can be measured over the timeline.

    Raises:
        OperationFailed: `too_few_days`: fewer than two session days.
    """
    if len(np.unique(portfolio.session_day)) < 2:
        raise OperationFailed(
            f"the test blocks span {len(portfolio.timestamp)} bars on fewer than two session days; a Sharpe ratio "
            "needs more: import a longer history",
            reason="too_few_days",
        )
