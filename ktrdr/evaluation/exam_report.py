"""What is kept of exams: a look, its outcome in the ledger, and the whole report in a file that no agent reads."""

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat

from ktrdr.backtest.report import BacktestMetrics, BuyAndHold, CostReport, SharpeTest, WindowReport


def exam_file(operation_id: str) -> str:
    """Return the name under which the report of an exam is kept, for good."""
    return f"{operation_id}.json"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class LookRecord(_Section):
    """A look at sealed bars, as it was written down before it.

    Attributes:
        identity: Hash of the specification (less name and hypothesis) and the weights.
        number: This one among the looks of the workspace, from 1.
        operation_id: Who looks.
        strategy: The name at that time.
        strategy_sha256: Its file at that time.
        instruments: Whose bars were looked at, all timeframes and aliases of each.
        designer: The language model that designed it, None where no design is recorded.
        opened_at: When.
    """

    identity: str
    number: int
    operation_id: str
    strategy: str
    strategy_sha256: str
    instruments: tuple[str, ...]
    designer: str | None
    opened_at: AwareDatetime


class ExamOutcome(_Section):
    """What a look came to, as the ledger keeps it.

    Attributes:
        passed: `psr` is at least `required_psr`.
        reason: Which rule decided: `passed`, `below_the_bar`, `no_trades`.
        psr: Probability that the true Sharpe ratio is above zero, the lower of net and market-adjusted returns; null
            where one of them does not vary.
        required_psr: 1 - 0.05 / (k (k + 1)) of look k.
        sharpe_ratio: The worse of the two, annualised.
        n_trades: On the sealed bars.
        first: Open of the first sealed bar.
        last: Open of the last one.
    """

    passed: bool
    reason: str
    psr: FiniteFloat | None
    required_psr: FiniteFloat
    sharpe_ratio: FiniteFloat | None
    n_trades: int
    first: AwareDatetime
    last: AwareDatetime


class ExamRecord(_Section):
    """A look and, once it has ended, its outcome."""

    look: LookRecord
    outcome: ExamOutcome | None


class ExamReport(BaseModel):
    """The whole of an exam's file. No times or ids of a run: the same look gives the same bytes.

    Attributes:
        identity: As of `LookRecord`.
        look: Its number.
        outcome: As the ledger keeps it.
        net: The test of net returns against a true Sharpe ratio of zero.
        market_adjusted: The same less beta times buy-and-hold.
        market_beta: From the rows that the final model was fitted on.
        metrics: Of the sealed bars, as of backtest.json.
        buy_and_hold: Of the same bars.
        costs: What every fill paid.
        window: The sealed bars.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str
    look: int
    outcome: ExamOutcome
    net: SharpeTest
    market_adjusted: SharpeTest
    market_beta: FiniteFloat
    metrics: BacktestMetrics
    buy_and_hold: BuyAndHold
    costs: CostReport
    window: WindowReport


class SealedWindow(_Section):
    """What is known of sealed bars without reading one: how many, and from when to when."""

    n_bars: int
    first: datetime
    last: datetime
    years: float
