"""The exam: the final model, trained on the whole research window, on bars that nobody has seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ktrdr.backtest.market_beta import FittedSeries, measure_portfolio_betas
from ktrdr.backtest.outcome import BacktestOutcome
from ktrdr.backtest.portfolio import TradedSeries
from ktrdr.backtest.report import TrialHistory, VerdictReport
from ktrdr.backtest.run import run_portfolio
from ktrdr.errors import OperationFailed
from ktrdr.evaluation.exam_power import required_psr
from ktrdr.evaluation.exam_report import ExamOutcome, ExamReport
from ktrdr.evaluation.verdict import reach_verdict
from ktrdr.features.inputs import compute_inputs
from ktrdr.market.bars import Bars
from ktrdr.market.costs import CostModel
from ktrdr.market.sealed import load_with_sealed
from ktrdr.market.store import BarStore
from ktrdr.statistics.returns import FloatArray
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.training.model import TrainedModel
from ktrdr.training.pool import compute_pool
from ktrdr.training.rows import usable_rows
from ktrdr.training.splits import split_training_part


def hold_exam(
    specification: StrategySpecification, model: TrainedModel, store: BarStore, *, identity: str, look: int
) -> ExamReport:
    """Read the sealed bars, trade them with the final model, and say whether it passed.

    Features of the first sealed bars are warmed up on research bars; positions start flat. Of several symbols the exam
    lies in the time that is sealed for all of them. Tested are the net returns
    and the net returns less beta times buy-and-hold, as for a verdict, against a true Sharpe ratio of zero.

    Args:
        specification: The strategy.
        model: Its stored final model; its snapshots name the research bars that the sealed ones continue.
        store: Where bars are.
        identity: As of `exam_identity`.
        look: Its number, from which the bar follows.

    Raises:
        NotFound: A series or its snapshot is gone.
        OperationFailed: As `load_with_sealed`, `compute_inputs` and `run_backtest`; `no_exam`: what is sealed of the
            symbols does not overlap.
        WorkspaceUnusable: A file cannot be used.
    """
    description = model.description
    read = [_read(specification, model, store, symbol) for symbol in specification.symbols]
    begin = max(int(each.bars.timestamp[each.first_sealed]) for each in read)
    end = min(int(each.bars.timestamp[-1]) for each in read)
    exam = [each.sealed_part(begin, end) for each in read]
    traded = run_portfolio(specification, exam, seed=description.seed)
    beta = _final_beta(specification, read)
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


@dataclass(frozen=True, slots=True, eq=False)
class _ReadSeries:
    """A symbol's research bars with the sealed ones after them, and what the model says of each."""

    bars: Bars
    first_sealed: int
    probability: FloatArray
    costs: CostModel

    def sealed_part(self, begin: int, end: int) -> TradedSeries:
        """Return what the exam trades: the bars that open from `begin` to `end`, epoch ms, which all are sealed."""
        is_sealed = (self.bars.timestamp >= begin) & (self.bars.timestamp <= end)
        if not is_sealed.any():
            raise OperationFailed(
                f"no sealed bar of {self.bars.symbol} lies in the time that is sealed for all symbols",
                reason="no_exam",
            )
        probability = np.where(is_sealed, self.probability, np.nan)
        return TradedSeries(self.bars, probability, is_sealed.astype(np.int8), self.costs)


def _read(specification: StrategySpecification, model: TrainedModel, store: BarStore, symbol: str) -> _ReadSeries:
    timeframe = specification.timeframe
    costs = store.series(symbol, timeframe).costs
    snapshot = model.description.snapshot_of(symbol)
    bars, first_sealed = load_with_sealed(store, symbol, timeframe, snapshot=snapshot)
    return _ReadSeries(bars, first_sealed, model.predict(compute_inputs(specification, bars)), costs)


def _final_beta(specification: StrategySpecification, read: Sequence[_ReadSeries]) -> float:
    """Return the market's share in what the final model does from its first fitted row to its last one."""
    pool = compute_pool(specification, [each.bars.slice(0, each.first_sealed) for each in read])
    rows = usable_rows(pool.inputs, pool.labels)
    fitted = split_training_part(rows, pool.labels.end, len(pool.rows), timestamp=pool.rows.timestamp).fitted
    learned = []
    for place, each in enumerate(read):
        own = pool.rows.rows_of(place)
        bar = pool.rows.bar[own[(own >= fitted[0]) & (own <= fitted[-1])]]
        probability = np.full(each.first_sealed, np.nan)
        probability[bar] = each.probability[bar]
        learned.append(FittedSeries(pool.rows.series[place], [probability], each.costs))
    return measure_portfolio_betas(specification, learned)[0]


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
