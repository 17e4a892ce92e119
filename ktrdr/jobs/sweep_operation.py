"""The operation `backtesting` where it tries many variants: trials, job process, files into place."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from ktrdr.artifacts.attempt import discard_attempt
from ktrdr.backtest.report import SWEEP_METRICS
from ktrdr.errors import KtrdrError, OperationFailed
from ktrdr.evaluation.trial_ledger import variant_trial
from ktrdr.jobs.files import sweep_file, trial_file
from ktrdr.jobs.repeated_job import run_repeated_job
from ktrdr.jobs.same_strategy import require_same_strategy
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.jobs.trial_configuration import trial_configuration
from ktrdr.operations.work import JobOutcome, Payload, Work
from ktrdr.strategy.variants import Axes, expand_grid

VARIANT = "sweep_variant"
_PHASE, _SWEEP_JOB = "backtesting", "ktrdr.jobs.sweep"
_VERDICT = {"verdict": "value", "verdict_reason": "reason", "psr": "psr"}


async def sweep_variants(
    services: LaboratoryServices, work: Work, strategy: str, strategy_sha256: str, axes: Axes
) -> JsonValue:
    """Count every variant, trade them, publish their table, close their trials; return the best and what luck shows.

    All trials are opened in one transaction before anything is traded, and closed in one at the end. Their ids are made
    of the operation's and the variant's number: whatever runs again after a crash counts nothing twice.
    """
    sweep = _Sweep(services, work.operation_id, strategy, strategy_sha256, axes)
    try:
        known = await work.step("prepare", sweep.count_variants)
        request: Payload = {
            "strategy": strategy,
            "strategy_sha256": strategy_sha256,
            "axes": {path: list[JsonValue](values) for path, values in axes.items()},
            "operation_id": work.operation_id,
            **known,
        }
        traded = await run_repeated_job(services, work, _PHASE, _SWEEP_JOB, request, keep=sweep.keep)
    except KtrdrError as error:
        failed: Payload = {"outcome": f"backtest_failed:{error.reason}"}
        services.ledger.close_trials(dict.fromkeys(services.ledger.trials_of(work.operation_id), failed))
        raise
    if not isinstance(traded.result, dict):
        raise OperationFailed(f"a sweep must answer with an object, was {traded.result!r}", reason="bad_result")
    await work.publish("publish", lambda: sweep.publish(traded))
    await work.step("close_trial", lambda: sweep.close_trials(known["n_trials"]))
    path = services.strategies.path(strategy)
    return {
        "strategy_name": strategy,
        "strategy_path": str(path),
        "sweep_path": str(path / sweep.table),
        "sweep": traded.result,
    }


@dataclass(frozen=True, slots=True)
class _Sweep:
    """The steps of one sweep."""

    services: LaboratoryServices
    operation_id: str
    strategy: str
    strategy_sha256: str
    axes: Axes

    @property
    def table(self) -> str:
        return sweep_file(self.operation_id)

    @property
    def returns(self) -> str:
        return trial_file(self.operation_id)

    def count_variants(self) -> Payload:
        services = self.services
        services.operations.write_metadata(self.operation_id, {"strategy_name": self.strategy})
        specification = services.strategies.read(self.strategy)
        require_same_strategy(specification, self.strategy_sha256)
        grid = expand_grid(specification, self.axes)
        common = trial_configuration(services, VARIANT, self.strategy)
        trials: dict[str, Payload] = {
            variant_trial(self.operation_id, each.number): {
                **common,
                "configuration_sha256": each.configuration_sha256,
                "parameters": dict(zip(grid.paths, each.values, strict=True)),
            }
            for each in grid.variants
        }
        services.ledger.open_trials(trials)
        # Remembered with the step: a sweep that runs again after a crash is judged by the same history.
        beside = services.ledger.returns_beside(next(iter(trials)))
        return {"n_trials": services.ledger.count(), "other_returns": list[JsonValue](beside)}

    def keep(self, attempt: Path) -> JsonValue:
        return {
            "returns": self.services.stores.trials.upload(self.operation_id, attempt, (self.returns,)),
            "table": self.services.strategies.upload(self.strategy, attempt, (self.table,)),
        }

    def publish(self, traded: JobOutcome) -> None:
        assert isinstance(traded.kept, dict)
        returns, table = traded.kept["returns"], traded.kept["table"]
        self.services.stores.trials.publish(self.operation_id, traded.attempt, (self.returns,), uploaded=returns)
        self.services.strategies.publish(self.strategy, traded.attempt, (self.table,), uploaded=table)
        discard_attempt(traded.attempt)

    def close_trials(self, n_trials: JsonValue) -> None:
        """Record in the ledger what the table says of each variant."""
        import polars as pl

        settings = self.services.settings
        returns = str((settings.trials_folder / self.returns).relative_to(settings.workspace))
        rows = pl.read_parquet(self.services.strategies.folder(self.strategy) / self.table)
        self.services.ledger.close_trials(
            {
                variant_trial(self.operation_id, row["number"]): {
                    "outcome": "swept",
                    "metrics": {name: row[name] for name in SWEEP_METRICS},
                    "verdict": {**{name: row[column] for column, name in _VERDICT.items()}, "n_trials": n_trials},
                    "daily_returns": returns,
                }
                for row in rows.filter(pl.col("number") > 0).iter_rows(named=True)
            }
        )
