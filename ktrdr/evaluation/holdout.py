"""The exam: the final model, trained on the whole research window, on bars that nobody has seen."""

import numpy as np

from ktrdr.backtest.market_beta import measure_market_betas
from ktrdr.backtest.outcome import BacktestOutcome
from ktrdr.backtest.report import TrialHistory, VerdictReport
from ktrdr.backtest.run import run_backtest
from ktrdr.evaluation.exam_power import required_psr
from ktrdr.evaluation.exam_report import ExamOutcome, ExamReport
from ktrdr.evaluation.verdict import reach_verdict
from ktrdr.features.inputs import compute_inputs
from ktrdr.labels.label import make_labels
from ktrdr.market.bars import Bars
from ktrdr.market.costs import CostModel
from ktrdr.market.sealed import load_with_sealed
from ktrdr.market.store import BarStore
from ktrdr.statistics.returns import FloatArray
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.training.model import TrainedModel
from ktrdr.training.rows import usable_rows
from ktrdr.training.splits import split_training_part


def hold_exam(
    specification: StrategySpecification, model: TrainedModel, store: BarStore, *, identity: str, look: int
) -> ExamReport:
    """Read the sealed bars, trade them with the final model, and say whether it passed.

    Features of the first sealed bars are warmed up on research bars; positions start flat. Tested are the net returns
    and the net returns less beta times buy-and-hold, as for a verdict, against a true Sharpe ratio of zero.

    Args:
        specification: The strategy.
        model: Its stored final model; its snapshot names the research bars that the sealed ones continue.
        store: Where bars are.
        identity: As of `exam_identity`.
        look: Its number, from which the bar follows.

    Raises:
        NotFound: The series or its snapshot is gone.
        OperationFailed: As `load_with_sealed`, `compute_inputs` and `run_backtest`.
        WorkspaceUnusable: A file cannot be used.
    """
    description = model.description
    symbol, timeframe = specification.symbol, specification.timeframe
    costs = store.series(symbol, timeframe).costs
    bars, first_sealed = load_with_sealed(store, symbol, timeframe, snapshot=description.snapshot)
    probability = model.predict(compute_inputs(specification, bars))
    is_sealed = np.arange(len(bars)) >= first_sealed
    sealed = np.where(is_sealed, probability, np.nan)
    traded = run_backtest(specification, bars, sealed, is_sealed.astype(np.int8), costs, seed=description.seed)
    beta = _final_beta(specification, bars.slice(0, first_sealed), probability[:first_sealed], costs)
    # Of one trial: the specification and its weights were fixed before anybody looked, so there is no luck to take off.
    test = reach_verdict(traded, [beta], TrialHistory(n_trials=1), seed=description.seed)
    return ExamReport(
        identity=identity,
        look=look,
        outcome=_judge(traded, test, look),
        net=test.net,
        market_adjusted=test.market_adjusted,
        market_beta=beta,
        metrics=traded.report.metrics,
        buy_and_hold=traded.report.baselines.buy_and_hold,
        costs=traded.report.costs,
        window=traded.report.window,
    )


def _final_beta(
    specification: StrategySpecification, research: Bars, probability: FloatArray, costs: CostModel
) -> float:
    """Return the market's share in what the final model does from its first fitted row to its last one."""
    labels = make_labels(specification, research)
    rows = usable_rows(compute_inputs(specification, research), labels)
    fitted = split_training_part(rows, labels.end, len(research)).fitted
    bar = np.arange(len(research))
    is_fitted = (bar >= fitted[0]) & (bar <= fitted[-1])
    return measure_market_betas(specification, research, [np.where(is_fitted, probability, np.nan)], costs)[0]


def _judge(traded: BacktestOutcome, test: VerdictReport, look: int) -> ExamOutcome:
    needed, window = required_psr(look), traded.report.window
    passed = test.psr is not None and test.psr >= needed
    reason = "passed" if passed else "below_the_bar" if test.n_trades else "no_trades"
    ratios = [each.sharpe_ratio for each in (test.net, test.market_adjusted) if each.sharpe_ratio is not None]
    return ExamOutcome(
        passed=passed,
        reason=reason,
        psr=test.psr,
        required_psr=needed,
        sharpe_ratio=min(ratios, default=None),
        n_trades=test.n_trades,
        first=window.first,
        last=window.last,
    )
