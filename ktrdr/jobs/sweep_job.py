"""Backtest the variants of a trained strategy out of sample, into an attempt folder."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import BaseModel, JsonValue

from ktrdr.backtest.artifacts import write_sweep, write_variant_returns
from ktrdr.backtest.report import SWEEP_METRICS, BacktestMetrics, SelectionReport
from ktrdr.backtest.sweep import SweepOutcome, run_sweep
from ktrdr.config import load_settings
from ktrdr.evaluation.selection import compare_with_trials
from ktrdr.evaluation.sweep_verdicts import VariantVerdict, reach_sweep_verdicts
from ktrdr.evaluation.verdict import expected_best_sharpe
from ktrdr.jobs.evidence import read_evidence
from ktrdr.jobs.files import sweep_file, trial_file
from ktrdr.jobs.same_strategy import require_same_strategy
from ktrdr.jobs.stores import open_job_stores
from ktrdr.operations.job_child import Report
from ktrdr.statistics.returns import DailyReturns
from ktrdr.strategy.variants import Axes, Variant, expand_grid
from ktrdr.telemetry.stopwatch import Stopwatch
from ktrdr.training.report import read_training_report

_N_BEST = 5
_TRADING_FROM, _TRADING_UNTIL = 10.0, 75.0  # of the progress

Row = dict[str, JsonValue]


class SweepJobRequest(BaseModel):
    """What the worker asks of a sweep's process. `n_trials`: of the workspace, every variant counted."""

    strategy: str
    strategy_sha256: str
    axes: Axes
    operation_id: str
    attempt: str
    n_trials: int
    other_returns: list[str]


def sweep(document: dict[str, JsonValue], report: Report, stopwatch: Stopwatch) -> JsonValue:
    """Trade every variant on the stored out-of-sample predictions; return what the operation's result shows of them."""
    request, settings = SweepJobRequest.model_validate(document), load_settings()
    report(0.0, "reading predictions")
    stores = open_job_stores(settings)
    specification = stores.strategies.read(request.strategy)
    require_same_strategy(specification, request.strategy_sha256)
    training = read_training_report(stores.strategies.folder(request.strategy) / "training.json")
    require_same_strategy(specification, training.strategy_sha256)
    grid = expand_grid(specification, request.axes)
    traded, fitted = read_evidence(stores, specification, training)
    stopwatch.lap("job.read", {"bars": sum(len(each.bars) for each in traded)})
    tried = (grid.stored, *grid.variants)

    def on_progress(share: float) -> None:
        report(_TRADING_FROM + share * (_TRADING_UNTIL - _TRADING_FROM), f"trading {len(grid.variants):,} variants")

    outcome = run_sweep([each.specification for each in tried], traded, fitted, on_progress=on_progress)
    stopwatch.lap("backtest.trade", {"variants": len(tried), "days": len(outcome.held)})
    report(_TRADING_UNTIL, "reaching the verdicts")
    verdicts = reach_sweep_verdicts(outcome, n_trials=request.n_trials, seed=training.seed)
    stopwatch.lap("backtest.verdict")
    report(90.0, "writing results")
    rows = [_row(grid.paths, *each) for each in zip(tried, outcome.metrics, verdicts, strict=True)]
    attempt = Path(request.attempt)
    returns = attempt / trial_file(request.operation_id)
    write_sweep(attempt / sweep_file(request.operation_id), _table(rows))
    write_variant_returns(
        returns,
        outcome.session_day,
        {each.number: outcome.net_return[place] for place, each in enumerate(tried) if place > 0},
    )
    stopwatch.lap("job.write")
    with stores.trials.settled():
        for path in request.other_returns:
            stores.trials.bring(Path(path).stem)
    others = [returns, *(settings.workspace / path for path in request.other_returns)]
    selection = _selection(outcome, others, training.seed)
    stopwatch.lap("backtest.selection")
    return _summary(rows, outcome, request.n_trials, selection)


def _row(paths: Sequence[str], variant: Variant, metrics: BacktestMetrics, verdict: VariantVerdict) -> Row:
    return {
        "number": variant.number,
        **dict(zip(paths, variant.values, strict=True)),
        **{name: getattr(metrics, name) for name in SWEEP_METRICS},
        "psr": verdict.psr,
        "verdict": verdict.value,
        "verdict_reason": verdict.reason,
    }


def _table(rows: Sequence[Row]) -> pl.DataFrame:
    # A column's kind is that of all its values: the first may be a whole number, or none.
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col("number").cast(pl.Int64))


def _selection(outcome: SweepOutcome, others: Sequence[Path], seed: int) -> SelectionReport | None:
    """Return what choosing the best of these variants and of the other trials of the same bars comes to."""
    best = max(range(1, len(outcome.metrics)), key=lambda place: outcome.metrics[place].sharpe_ratio or -np.inf)
    own = DailyReturns(outcome.session_day, outcome.net_return[best])
    return compare_with_trials(own, others, seed=seed)


def _summary(rows: Sequence[Row], outcome: SweepOutcome, n_trials: int, selection: SelectionReport | None) -> Row:
    stored, variants = rows[0], rows[1:]
    ranked = sorted(variants, key=lambda row: -_ratio(row))
    return {
        "n_variants": len(variants),
        "n_trials": n_trials,
        "expected_best_sharpe": expected_best_sharpe(n_trials, len(outcome.held), days_per_year=outcome.days_per_year),
        "verdicts": dict(Counter(str(row["verdict"]) for row in variants)),
        "best": list[JsonValue](ranked[:_N_BEST]),
        "stored": stored,
        "median": _median(variants),
        "selection": None if selection is None else selection.model_dump(mode="json"),
    }


def _ratio(row: Row) -> float:
    ratio = row["sharpe_ratio"]
    return float(ratio) if isinstance(ratio, float | int) else -np.inf


def _median(rows: Sequence[Row]) -> Row:
    """Return the median of each figure by itself, over the variants that have one."""
    found: Row = {}
    for name in (*SWEEP_METRICS, "psr"):
        values = [value for row in rows if isinstance(value := row[name], float | int)]
        found[name] = float(np.median(values)) if values else None
    return found
