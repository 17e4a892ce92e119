"""From a strategy, bars and probabilities to what the engine takes; whatever cannot be traded is refused here."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.engine import BOTH, LONG_ONLY, NO_MAX_HOLDING, NOTHING_WANTED, SHORT_ONLY, Charges, Market, Rules
from ktrdr.errors import OperationFailed
from ktrdr.indicators.compute import average_true_range
from ktrdr.market.bars import Bars
from ktrdr.market.costs import CostModel
from ktrdr.statistics.returns import FloatArray
from ktrdr.statistics.volatility import annual_volatility
from ktrdr.strategy.specification import FixedSizing, StrategySpecification

ATR_TIMEPERIOD = 14

_DIRECTIONS = {"both": BOTH, "long": LONG_ONLY, "short": SHORT_ONLY}
_NOTHING: FloatArray = np.empty(0)


@dataclass(frozen=True, slots=True, eq=False)
class EngineInputs:
    """Everything that one simulation reads.

    Attributes:
        market: Bars, probabilities and ATR.
        rules: The strategy's own.
        charges: What each fill and holding cost.
        folds: int64 (n_folds, 2), first bar and one past the last bar of each fold.
        window: Bars of the folds, ascending.
        wanted_exposure: Of the strategy's own sizing, as `simulate` takes it.
    """

    market: Market
    rules: Rules
    charges: Charges
    folds: NDArray[np.int64]
    window: NDArray[np.intp]
    wanted_exposure: FloatArray


def prepare_engine(
    specification: StrategySpecification,
    bars: Bars,
    probability_by_bar: FloatArray,
    fold_by_bar: NDArray[np.int8],
    costs: CostModel,
) -> EngineInputs:
    """Check the inputs of a backtest and lay them out for the engine; arguments and errors as of `run_backtest`."""
    folds = _fold_bounds(fold_by_bar)
    window = np.flatnonzero(fold_by_bar)
    fill_bps = costs.commission_bps + costs.slippage_bps
    if bars.half_spread_bps is None:
        fill_bps += costs.half_spread_bps
    return EngineInputs(
        market=_market(specification, bars, probability_by_bar, window),
        rules=rules_of(specification),
        charges=Charges(fill_bps, costs.financing_long, costs.financing_short),
        folds=folds,
        window=window,
        wanted_exposure=_known_exposure(specification, bars, window),
    )


def _fold_bounds(fold_by_bar: NDArray[np.int8]) -> NDArray[np.int64]:
    # (n_folds, 2): first bar and one past the last bar of each run of equal, non-zero numbers.
    edges = np.flatnonzero(np.diff(fold_by_bar)) + 1
    starts = np.concatenate(([0], edges)).astype(np.int64)
    stops = np.concatenate((edges, [len(fold_by_bar)])).astype(np.int64)
    numbers = fold_by_bar[starts] if len(fold_by_bar) else fold_by_bar
    is_fold = numbers != 0
    if not is_fold.any():
        raise OperationFailed("no bar belongs to a test block; train the strategy again", reason="no_test_bars")
    if (np.diff(numbers[is_fold].astype(np.int64)) <= 0).any() or numbers.min() < 0:
        raise ValueError(f"need each fold as one run of bars, in order, was {numbers.tolist()}")
    return np.stack((starts[is_fold], stops[is_fold]), axis=1)


def _market(
    specification: StrategySpecification, bars: Bars, probability: FloatArray, window: NDArray[np.intp]
) -> Market:
    inside = probability[window]
    missing = ~((inside >= 0.0) & (inside <= 1.0))  # NaN fails both
    _refuse_if_any(missing, window, bars, "prediction_missing", "have no probability from 0 to 1; train again")
    for name in ("open", "high", "low", "close"):
        values = bars.prices()[name][window]
        unusable = ~(np.isfinite(values) & (values > 0.0))
        _refuse_if_any(unusable, window, bars, "price_unusable", f"have no {name} above 0; import clean bars")
    spread = _NOTHING
    if bars.half_spread_bps is not None:
        spread = bars.half_spread_bps
        absent = ~(np.isfinite(spread[window]) & (spread[window] >= 0.0))
        _refuse_if_any(absent, window, bars, "half_spread_missing", "have no half spread >= 0; import clean bars")
    atr = _NOTHING
    if specification.risk.stop_loss is not None or specification.risk.take_profit is not None:
        atr = average_true_range(bars.prices(), ATR_TIMEPERIOD)
        undefined = ~np.isfinite(atr[window])
        _refuse_if_any(
            undefined,
            window,
            bars,
            "indicator_not_finite",
            f"come before ATR({ATR_TIMEPERIOD}) has settled; import a longer history",
        )
    return Market(
        timestamp=bars.timestamp,
        known_at=bars.known_at,
        open=bars.open,
        high=bars.high,
        low=bars.low,
        close=bars.close,
        probability=probability,
        atr=atr,
        half_spread_bps=spread,
    )


def _known_exposure(specification: StrategySpecification, bars: Bars, window: NDArray[np.intp]) -> FloatArray:
    exposure = wanted_exposure(specification, bars)
    if len(exposure) > 0:
        what = "come before risk.sizing.lookback returns are known; use a shorter one or a longer history"
        _refuse_if_any(np.isnan(exposure[window]), window, bars, "too_few_bars", what)
    return exposure


def wanted_exposure(specification: StrategySpecification, bars: Bars) -> FloatArray:
    """Return (n_bars,) the exposure that the sizing wants at a decision of each bar, before any maximum.

    NaN where the volatility is not known yet, infinite where nothing moved; empty for a fixed exposure.
    """
    sizing = specification.risk.sizing
    if isinstance(sizing, FixedSizing):
        return NOTHING_WANTED
    with np.errstate(divide="ignore"):
        return sizing.annual_volatility / annual_volatility(bars.close, bars.known_at, lookback=sizing.lookback)


def _refuse_if_any(is_bad: NDArray[np.bool_], window: NDArray[np.intp], bars: Bars, reason: str, what: str) -> None:
    if is_bad.any():
        first = datetime.fromtimestamp(int(bars.timestamp[window[np.argmax(is_bad)]]) / 1000, UTC).isoformat()
        count = int(is_bad.sum())
        raise OperationFailed(f"{count} of {len(window)} test bars {what} (the first: {first})", reason=reason)


def rules_of(specification: StrategySpecification) -> Rules:
    """Return what the engine trades by, from `decision` and `risk`."""
    decision, risk = specification.decision, specification.risk
    return Rules(
        enter=float(decision.enter),
        exit=float(decision.exit),
        direction=_DIRECTIONS[decision.direction],
        exposure=float(risk.sizing.exposure if isinstance(risk.sizing, FixedSizing) else risk.sizing.max_exposure),
        stop_loss_atr=math.inf if risk.stop_loss is None else float(risk.stop_loss),
        take_profit_atr=math.inf if risk.take_profit is None else float(risk.take_profit),
        max_holding_bars=NO_MAX_HOLDING if risk.max_holding_bars is None else risk.max_holding_bars,
        min_bars_between_trades=decision.min_bars_between_trades,
    )
