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
        sharpe_ci95: Ends of its 95 % interval (stationary bootstrap, as `sharpe_interval` says, in blocks of at least
            the mean holding); null without trades and with fewer than ten session days.
        sortino_ratio: Mean over downside deviation (target 0) of daily returns, annualised.
        max_drawdown: Largest fall of bar-marked equity as a fraction of its peak so far.
        total_return: Final over initial equity, less 1.
        cagr: Compound growth a calendar year.
        calmar_ratio: `cagr` over `max_drawdown`.
        win_rate: Share of trades with a net profit above 0.
        profit_factor: Sum of net profits over sum of net losses.
        n_trades: Positions from opening to flat.
        exposure: Fraction of the account invested at entry x bars held, summed over trades, per bar that the symbol has
            in the window.
        turnover: Notional of both fills over the account's equity at entry, summed over trades, per calendar year.
        costs_paid: Commission, half spread, slippage and financing as a fraction of the initial equity.
        days_per_year: Session days of the window per calendar year (365.25 days).
    """

    sharpe_ratio: FiniteFloat | None
    sharpe_ci95: tuple[FiniteFloat, FiniteFloat] | None
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


SWEEP_METRICS = (
    "sharpe_ratio",
    "total_return",
    "max_drawdown",
    "n_trades",
    "profit_factor",
    "win_rate",
    "exposure",
    "turnover",
    "costs_paid",
    "days_per_year",
)
"""Which of them are kept of each variant of a sweep."""


class BuyAndHold(_Section):
    """The market itself: the whole equity in it over the same blocks, with the same costs, closed at fold ends.

    Attributes:
        sharpe_ratio: Of its daily net returns, annualised.
        total_return: Final over initial equity, less 1.
        cagr: Compound growth a calendar year.
        max_drawdown: Largest fall of bar-marked equity as a fraction of its peak.
    """

    sharpe_ratio: FiniteFloat
    total_return: FiniteFloat
    cagr: FiniteFloat
    max_drawdown: FiniteFloat


class RandomEntries(_Section):
    """The strategy's own signal at random times: the same directions, holding, stops and costs, without timing.

    Attributes:
        n: Draws.
        sharpe_mean: Mean Sharpe ratio of the draws, annualised.
        sharpe_p95: Their 95th percentile.
        total_return_mean: Mean total return of the draws.
        p_value: (1 + draws with at least the strategy's Sharpe ratio) / (1 + draws); uniform without skill.
    """

    n: int
    sharpe_mean: FiniteFloat
    sharpe_p95: FiniteFloat
    total_return_mean: FiniteFloat
    p_value: FiniteFloat


class Baselines(_Section):
    """What no skill would have come to; `random_entry` is null without trades."""

    buy_and_hold: BuyAndHold
    random_entry: RandomEntries | None


VerdictValue = Literal["proven", "candidate", "inconclusive", "disproven"]


class SharpeTest(_Section):
    """One series of daily returns tested against luck; all null where it does not vary.

    Attributes:
        sharpe_ratio: Annualised.
        sharpe_ci95: Ends of its 95 % interval, annualised; null with fewer than ten session days.
        psr: Probability that the true ratio lies above what the best of `n_trials` without skill would show.
        dsr: The same against Bailey's and Lopez de Prado's threshold, from the variance of the trials' own ratios;
            null where fewer than two of several trials got as far as a ratio.
        years_needed: Further years of such returns until `psr` is 0.95; null without a positive edge.
    """

    sharpe_ratio: FiniteFloat | None
    sharpe_ci95: tuple[FiniteFloat, FiniteFloat] | None
    psr: FiniteFloat | None
    dsr: FiniteFloat | None
    years_needed: FiniteFloat | None


class TrialSharpes(_Section):
    """The Sharpe ratios (per session day) of the other trials that got as far as one, in three numbers.

    Attributes:
        count: How many.
        mean: Their mean; 0 of none.
        squares: Sum of squared deviations from it.
    """

    count: int = 0
    mean: FiniteFloat = 0.0
    squares: FiniteFloat = 0.0


class TrialHistory(_Section):
    """What the trial ledger knew when a verdict was reached: the only thing in it that is not of the backtest.

    Attributes:
        n_trials: All trials of the workspace so far, this one included; >= 1.
        other_sharpes: Of the other trials.
    """

    n_trials: int
    other_sharpes: TrialSharpes = TrialSharpes()


class SelectionReport(_Section):
    """This trial and all others of the same bars, chosen from by their Sharpe ratio. Reported, never decisive.

    Attributes:
        n_trials: Trials that traded on these days, this one included.
        n_days: Session days that all of them have.
        pbo: Probability of backtest overfitting: how often the best of one half of the days is in the lower half on the
            other; one half is what pure luck shows.
        spa_p_value: Hansen's test of superior ability: how often the best of so many without any return looks as good
            as the best of these.
    """

    n_trials: int
    n_days: int
    pbo: FiniteFloat
    spa_p_value: FiniteFloat


class VerdictReport(_Section):
    """What statistics allow to be said. The worse of the two tests counts, so each top figure is the worse one.

    Attributes:
        value: Its one word. `proven` is given by the exam on sealed bars alone.
        reason: Slug of the rule that decided: `above_luck`, `interval_below_zero`, `not_above_luck`,
            `no_positive_edge`, `too_few_trades`, `no_trades`.
        n_trials: Trials that the thresholds allow for.
        psr: The smaller of the two.
        dsr: The smaller of the two; reported, never decisive.
        years_needed: The larger of the two, null if either is null.
        power: Share of records of that length that would pass, if the true edge is the measured one.
        n_trades: Trades of the backtest; `MINIMUM_TRADES` are needed to say more than `inconclusive`.
        expected_best_sharpe: Annualised ratio that the best of `n_trials` without skill would show in this window.
        net: The test of the net returns.
        market_adjusted: The test of the net returns less beta times buy-and-hold, by `market_betas` or by
            `hindsight_beta`: whichever leaves less of an edge.
        market_betas: Beta per fold, from the rows that its networks were fitted on.
        hindsight_beta: Beta of the judged days themselves; null in reports of earlier versions, which did not ask.
        history: What was known of other trials.
        selection: The other trials of the same bars beside this one; null where there are none with a return.
    """

    value: VerdictValue
    reason: str
    n_trials: int
    psr: FiniteFloat | None
    dsr: FiniteFloat | None
    years_needed: FiniteFloat | None
    power: FiniteFloat
    n_trades: int
    expected_best_sharpe: FiniteFloat
    net: SharpeTest
    market_adjusted: SharpeTest
    market_betas: list[FiniteFloat]
    hindsight_beta: FiniteFloat | None = None
    history: TrialHistory
    selection: SelectionReport | None


class CostReport(_Section):
    """What every fill paid, per side in basis points of notional; financing as fractions of notional a year.

    Of several symbols the mean: each has an equal share. `SymbolReport` has what each of them paid.

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
        symbol: The instrument; of several their names, separated by a comma and a space.
        timeframe: Of its bars.
        snapshot: Version of the series; of several, as `name_snapshots` names theirs.
        first: Open of the first bar, UTC.
        last: Open of the last bar, UTC.
        n_bars: Bars of the window; of several symbols the opens at which any of them has a bar.
        n_session_days: Session days with at least one of them.
        n_folds: Test blocks.
        years: Calendar years from the open of the first bar until the last one is known.
        initial_equity: Equity before the first bar, in quote currency.
        snapshots: Version of every symbol's series; empty in files of earlier versions, which know one symbol.
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
    snapshots: dict[str, str] = {}

    def series_snapshots(self) -> dict[str, str]:
        """Return the version of every symbol's series."""
        return self.snapshots or {self.symbol: self.snapshot}


class SymbolReport(_Section):
    """What one symbol was in the account.

    Attributes:
        symbol: The instrument.
        snapshot: Version of its series.
        n_bars: Its bars in the window.
        n_trades: Its trades.
        net: Their net profit, as a fraction of the account's initial equity; of all symbols they add up to the total
            return.
        costs: What its fills paid.
    """

    symbol: str
    snapshot: str
    n_bars: int
    n_trades: int
    net: FiniteFloat
    costs: CostReport


class BacktestReport(_Section):
    """The whole of backtest.json.

    `verdict` is null until one has been reached (`ktrdr.evaluation.verdict`); `symbols`, in order of their names, is
    empty in files of earlier versions.
    """

    metrics: BacktestMetrics
    baselines: Baselines
    verdict: VerdictReport | None = None
    costs: CostReport
    window: WindowReport
    symbols: list[SymbolReport] = []


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
