"""backtest.json: what a backtest measured. No times or ids of a run: equal runs give equal bytes."""

from pathlib import Path
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

from ktrdr.errors import OperationFailed


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BacktestMetrics(_Section):
    """Figures net of all costs; fractions, never percent. The five ratios are null iff there are no trades.

    Inference is on net returns per session day. Ratios lie within +-`RATIO_CAP` of `ktrdr.statistics.performance`.

    Attributes:
        sharpe_ratio: Mean over standard deviation (ddof 1) of daily returns, annualised by `days_per_year`.
        sharpe_ci95: Not measured yet.
        sortino_ratio: Mean over downside deviation (target 0) of daily returns, annualised.
        max_drawdown: Largest fall of bar-marked equity as a fraction of its peak so far.
        total_return: Final over initial equity, less 1.
        cagr: Compound growth a calendar year.
        calmar_ratio: `cagr` over `max_drawdown`.
        win_rate: Share of trades with a net profit above 0.
        profit_factor: Sum of net profits over sum of net losses.
        n_trades: Positions from opening to flat.
        exposure: Fraction of equity invested at entry x bars held, summed over trades, per bar of the window.
        turnover: Notional of both fills over equity at entry, summed over trades, per calendar year.
        costs_paid: Commission, half spread, slippage and financing as a fraction of the initial equity.
        days_per_year: Session days of the window per calendar year (365.25 days).
    """

    sharpe_ratio: FiniteFloat | None
    sharpe_ci95: None = None
    sortino_ratio: FiniteFloat | None
    max_drawdown: FiniteFloat
    total_return: FiniteFloat
    cagr: FiniteFloat
    calmar_ratio: FiniteFloat | None
    win_rate: FiniteFloat | None
    profit_factor: FiniteFloat | None
    n_trades: int
    exposure: FiniteFloat
    turnover: FiniteFloat
    costs_paid: FiniteFloat
    days_per_year: FiniteFloat

    @model_validator(mode="after")
    def _ratios_are_null_iff_no_trades(self) -> Self:
        ratios = (self.sharpe_ratio, self.sortino_ratio, self.calmar_ratio, self.win_rate, self.profit_factor)
        if any((ratio is None) != (self.n_trades == 0) for ratio in ratios):
            raise ValueError(f"need the ratios null iff there are no trades, was {self.n_trades=}, {ratios=}")
        return self


class CostReport(_Section):
    """What every fill paid, per side in basis points of notional; financing as fractions of notional a year.

    Attributes:
        commission_bps: Of the instrument.
        half_spread_bps: Of the instrument or, where the bars carry their own, their mean over the window.
        half_spread_from: Which of the two it is.
        slippage_bps: Of the instrument.
        financing_long: Cost of holding a long position; negative earns.
        financing_short: The same for a short position.
    """

    commission_bps: FiniteFloat
    half_spread_bps: FiniteFloat
    half_spread_from: Literal["instrument", "bars"]
    slippage_bps: FiniteFloat
    financing_long: FiniteFloat
    financing_short: FiniteFloat


class WindowReport(_Section):
    """The bars that were traded: the test blocks.

    Attributes:
        symbol: The instrument.
        timeframe: Of its bars.
        snapshot: Version of the series.
        first: Open of the first bar, UTC.
        last: Open of the last bar, UTC.
        n_bars: Bars of the window.
        n_session_days: Session days with at least one of them.
        n_folds: Test blocks.
        years: Calendar years from the open of the first bar until the last one is known.
        initial_equity: Equity before the first bar, in quote currency.
    """

    symbol: str
    timeframe: str
    snapshot: str
    first: AwareDatetime
    last: AwareDatetime
    n_bars: int
    n_session_days: int
    n_folds: int
    years: FiniteFloat
    initial_equity: FiniteFloat


class BacktestReport(_Section):
    """The whole of backtest.json. `baselines` and `verdict` are not measured yet."""

    metrics: BacktestMetrics
    baselines: None = None
    verdict: None = None
    costs: CostReport
    window: WindowReport


def read_backtest_report(path: Path) -> BacktestReport:
    """Read backtest.json.

    Raises:
        OperationFailed: `backtest_unusable`: it is missing, or was changed into something else.
    """
    try:
        return BacktestReport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise OperationFailed(
            f"{path} is no backtest report ({type(error).__name__}); backtest the strategy again",
            reason="backtest_unusable",
        ) from error
