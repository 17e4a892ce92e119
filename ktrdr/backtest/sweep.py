"""Many variants of a strategy over the same bars, each as `run_backtest` would trade it; what they share is done once.

What is traded comes as a list of symbols, each with an equal share of the account; the account's curve is their sum.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.baselines import simulate_buy_and_hold
from ktrdr.backtest.engine import TradeRecords, simulate_many
from ktrdr.backtest.engine_inputs import ATR_TIMEPERIOD, EngineInputs, prepare_engine, rules_of, wanted_exposure
from ktrdr.backtest.market_beta import FEWEST_DAYS_OF_BETA, market_beta
from ktrdr.backtest.metrics import TradeColumns, mean_holding_days, measure_days, measure_trades
from ktrdr.backtest.outcome import INITIAL_EQUITY
from ktrdr.backtest.report import BacktestMetrics
from ktrdr.errors import OperationFailed
from ktrdr.indicators.compute import average_true_range
from ktrdr.market.bars import Bars
from ktrdr.market.costs import CostModel
from ktrdr.statistics.returns import FloatArray, calendar_years, daily_returns, returns_of_closes
from ktrdr.strategy.specification import FixedSizing, StrategySpecification

ProgressCallback = Callable[[float], None]


@dataclass(frozen=True, slots=True, eq=False)
class TradedSymbol:
    """One symbol and what the strategy's networks say of it, as for `run_backtest` and `measure_market_betas`."""

    bars: Bars
    probability_by_bar: FloatArray
    fold_by_bar: NDArray[np.int8]
    fitted_probability: Sequence[FloatArray]
    costs: CostModel


@dataclass(frozen=True, slots=True, eq=False)
class SweepOutcome:
    """What every variant came to; arrays have a row per variant.

    Attributes:
        session_day: int32 (n_days,).
        fold_of_day: int8 (n_days,), the fold that a day's last bar belongs to.
        held: (n_days,) net returns of buy-and-hold.
        net_return: (n_variants, n_days).
        market_betas: (n_variants, n_folds), as `measure_market_betas`.
        metrics: Of each variant, without an interval of the Sharpe ratio.
        mean_holding_days: (n_variants,), 0 without trades.
        days_per_year: Session days of the window per calendar year.
        years: Calendar years of the window.
    """

    session_day: NDArray[np.int32]
    fold_of_day: NDArray[np.int8]
    held: FloatArray
    net_return: FloatArray
    market_betas: FloatArray
    metrics: list[BacktestMetrics]
    mean_holding_days: FloatArray
    days_per_year: float
    years: float


def run_sweep(
    specifications: Sequence[StrategySpecification],
    symbols: Sequence[TradedSymbol],
    *,
    on_progress: ProgressCallback = lambda share: None,
) -> SweepOutcome:
    """Trade variants of one strategy, which differ in `decision` and `risk` alone. Pure: equal inputs, equal outcomes.

    Args:
        specifications: At least one.
        symbols: At least one, with the same folds.
        on_progress: Called now and then with the share that is done, 0..1.

    Raises:
        OperationFailed: As `run_backtest`; what one variant cannot be traded with ends them all.
    """
    first = _Stage.of_tests(specifications[0], symbols)
    account = first.account
    n_variants, n_days, n_folds = len(specifications), len(account.last_of_day), len(symbols[0].fitted_probability)
    if n_days < 2:
        raise OperationFailed(
            f"the test blocks span {len(account.session_day)} bars on fewer than two session days; a Sharpe ratio "
            "needs more: import a longer history",
            reason="too_few_days",
        )
    net_return, market_betas = np.empty((n_variants, n_days)), np.zeros((n_variants, n_folds))
    metrics: list[BacktestMetrics | None] = [None] * n_variants
    holding = np.zeros(n_variants)
    progress = _Progress(on_progress, n_variants * (1 + n_folds))
    for group in _alike(specifications):
        variants = [specifications[place] for place in group]
        stage = _Stage.of_tests(variants[0], symbols)
        for place, (trades, equities) in zip(group, stage.simulate(variants), strict=True):
            equity = account.sum(equities)
            net_return[place] = returns_of_closes(equity[account.last_of_day], initial_equity=INITIAL_EQUITY)
            figures = measure_days(net_return[place], equity, years=account.years)
            metrics[place] = measure_trades(trades, figures, n_bars=len(equity), interval=None)
            holding[place] = mean_holding_days(trades.bars_held, n_bars=len(equity), n_days=n_days)
            progress.step()
        for fold in range(n_folds):
            market_betas[group, fold] = _betas(variants, symbols, fold, progress)
    return SweepOutcome(
        session_day=account.session_day[account.last_of_day].astype(np.int32),
        fold_of_day=first.fold_by_bar[account.last_of_day],
        held=first.held(),
        net_return=net_return,
        market_betas=market_betas,
        metrics=[each for each in metrics if each is not None],
        mean_holding_days=holding,
        days_per_year=n_days / account.years,
        years=account.years,
    )


class _Progress:
    def __init__(self, on_progress: ProgressCallback, total: int) -> None:
        self._on_progress, self._total, self._done = on_progress, total, 0

    def step(self) -> None:
        self._done += 1
        if self._done % 100 == 0:
            self._on_progress(self._done / self._total)


def _alike(specifications: Sequence[StrategySpecification]) -> list[list[int]]:
    """Return the places of variants that read the same arrays: volatility and range depend on no other field."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, each in enumerate(specifications):
        sizing, risk = each.risk.sizing, each.risk
        volatility = None if isinstance(sizing, FixedSizing) else (sizing.annual_volatility, sizing.lookback)
        needs_range = risk.stop_loss is not None or risk.take_profit is not None
        groups.setdefault((volatility, needs_range), []).append(place)
    return list(groups.values())


@dataclass(frozen=True, slots=True, eq=False)
class _Account:
    """The bars of all symbols on one axis, by when they are known.

    `rows`: per symbol, the bar of its window that is the last one known at each bar of the axis, -1 before its first.
    """

    session_day: NDArray[np.int32]
    last_of_day: NDArray[np.intp]
    rows: list[NDArray[np.intp]]
    years: float

    def sum(self, equities: Sequence[FloatArray]) -> FloatArray:
        """Return the account's equity at each bar of the axis, from each symbol's over its own window."""
        if len(equities) == 1:
            return equities[0]
        share = INITIAL_EQUITY / len(equities)
        held = (np.where(rows < 0, share, equity[rows]) for rows, equity in zip(self.rows, equities, strict=True))
        total: FloatArray = np.sum(list(held), axis=0)
        return total


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """Some bars of every symbol on which variants are traded: the test blocks, or what a fold's networks saw."""

    inputs: list[EngineInputs]
    account: _Account
    fold_by_bar: NDArray[np.int8]

    @classmethod
    def of_tests(cls, specification: StrategySpecification, symbols: Sequence[TradedSymbol]) -> "_Stage":
        return cls._of(
            specification, symbols, [(each.probability_by_bar, each.fold_by_bar.astype(np.int8)) for each in symbols]
        )

    @classmethod
    def of_fitted(
        cls, specification: StrategySpecification, symbols: Sequence[TradedSymbol], fold: int
    ) -> "_Stage | None":
        """Return the rows that a fold's networks were fitted on; None where they are too few for a beta."""
        fitted = []
        for each in symbols:
            probability = each.fitted_probability[fold]
            # No stop can be set before the range has settled, whether this strategy has one or not.
            is_fitted = np.isfinite(probability) & np.isfinite(average_true_range(each.bars.prices(), ATR_TIMEPERIOD))
            exposure = wanted_exposure(specification, each.bars)
            if len(exposure) > 0:
                is_fitted &= ~np.isnan(exposure)
            if len(np.unique(each.bars.session_day[is_fitted])) < FEWEST_DAYS_OF_BETA:
                return None
            fitted.append((probability, is_fitted.astype(np.int8)))
        return cls._of(specification, symbols, fitted)

    @classmethod
    def _of(
        cls,
        specification: StrategySpecification,
        symbols: Sequence[TradedSymbol],
        signals: Sequence[tuple[FloatArray, NDArray[np.int8]]],
    ) -> "_Stage":
        inputs = [
            prepare_engine(specification, each.bars, probability, fold, each.costs)
            for each, (probability, fold) in zip(symbols, signals, strict=True)
        ]
        bars = [each.bars for each in symbols]
        windows = [each.window for each in inputs]
        axis, first_places = np.unique(
            np.concatenate([each.known_at[window] for each, window in zip(bars, windows, strict=True)]),
            return_index=True,
        )
        day = np.concatenate([each.session_day[window] for each, window in zip(bars, windows, strict=True)])
        folds = np.concatenate([fold[window] for (_, fold), window in zip(signals, windows, strict=True)])
        session_day = np.maximum.accumulate(day[first_places])
        begins = min(int(each.timestamp[window[0]]) for each, window in zip(bars, windows, strict=True))
        account = _Account(
            session_day=session_day,
            last_of_day=np.append(np.flatnonzero(np.diff(session_day)), len(session_day) - 1),
            rows=[
                np.searchsorted(each.known_at[window], axis, side="right") - 1
                for each, window in zip(bars, windows, strict=True)
            ],
            years=calendar_years(begins, int(axis[-1])),
        )
        return cls(inputs, account, folds[first_places])

    def simulate(self, variants: Sequence[StrategySpecification]) -> Iterator[tuple[TradeColumns, list[FloatArray]]]:
        """Yield each variant's trades of all symbols and each symbol's equity over its window, until the next one."""
        rules = [rules_of(each) for each in variants]
        share = INITIAL_EQUITY / len(self.inputs)
        runs = [
            simulate_many(
                each.market,
                rules,
                each.charges,
                each.folds,
                wanted_exposure=each.wanted_exposure,
                initial_equity=share,
            )
            for each in self.inputs
        ]
        windows = [_as_slice(each.window) for each in self.inputs]
        for simulated in zip(*runs, strict=True):
            equities = [equity[window] for (_, equity), window in zip(simulated, windows, strict=True)]
            yield _columns([trades for trades, _ in simulated]), equities

    def held(self) -> FloatArray:
        """Return the daily returns of holding the market over these bars."""
        share = 1 / len(self.inputs)
        equities = [simulate_buy_and_hold(each).equity[each.window] * share for each in self.inputs]
        return daily_returns(
            self.account.sum(equities), self.account.session_day, initial_equity=INITIAL_EQUITY
        ).net_return


def _betas(
    variants: Sequence[StrategySpecification], symbols: Sequence[TradedSymbol], fold: int, progress: _Progress
) -> list[float]:
    stage = _Stage.of_fitted(variants[0], symbols, fold)
    if stage is None:
        return [0.0] * len(variants)
    held, last_of_day = stage.held(), stage.account.last_of_day
    betas = []
    for _, equities in stage.simulate(variants):
        at_close = stage.account.sum(equities)[last_of_day]
        betas.append(market_beta(returns_of_closes(at_close, initial_equity=INITIAL_EQUITY), held))
        progress.step()
    return betas


def _columns(records: Sequence[TradeRecords]) -> TradeColumns:
    # Contiguous copies: the records interleave the columns.
    return TradeColumns._make(
        np.concatenate([each[name] for each in records]) if len(records) > 1 else records[0][name].copy()
        for name in TradeColumns._fields
    )


def _as_slice(window: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    # A slice is a view, and the test blocks mostly lie next to one another.
    first, last = int(window[0]), int(window[-1])
    return slice(first, last + 1) if last - first + 1 == len(window) else window
