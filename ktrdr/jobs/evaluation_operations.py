"""The operations `training` and `backtesting`: trial, job process, files into place."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, JsonValue

from ktrdr.artifacts.attempt import discard_attempt
from ktrdr.errors import KtrdrError, OperationFailed
from ktrdr.jobs.files import ASSESSMENT_FILES, BACKTEST_FILES, CYCLE_FILE, SWEEPS_FOLDER, TRAINING_FILES, trial_file
from ktrdr.jobs.repeated_job import run_repeated_job
from ktrdr.jobs.same_strategy import require_same_strategy
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.jobs.sweep_operation import sweep_variants
from ktrdr.jobs.trial_configuration import trial_configuration
from ktrdr.operations.runtime import Body
from ktrdr.operations.work import Payload, Work
from ktrdr.strategy.variants import Axes

TRAINING, BACKTESTING = "training", "backtesting"
_TRAINING_JOB, _BACKTEST_JOB = "ktrdr.jobs.training", "ktrdr.jobs.backtest"


class TrainingPayload(BaseModel):
    """What a `training` operation is asked. A cycle closes its trial itself, after the gates.

    `strategy_sha256` is what the strategy was when the work on it began.
    """

    strategy: str
    strategy_sha256: str
    seed: int
    part_of_cycle: bool


class BacktestPayload(BaseModel):
    """What a `backtesting` operation is asked. `trial_id`: the training's; None opens a trial for the backtest.

    With `sweep` each variant is a trial, and `strategy_sha256` is what the strategy was when they were checked.
    """

    strategy: str
    trial_id: str | None
    strategy_sha256: str | None = None
    sweep: Axes | None = None


def training_operation(services: LaboratoryServices) -> Body:
    """Return the body of `training`: counts the trial, trains, puts the files in place, returns the gate's metrics."""

    async def body(work: Work, document: Payload) -> JsonValue:
        payload = TrainingPayload.model_validate(document)
        checkpoints = services.stores.checkpoints

        def open_trial() -> JsonValue:
            services.operations.write_metadata(work.operation_id, {"strategy_name": payload.strategy})
            require_same_strategy(services.strategies.read(payload.strategy), payload.strategy_sha256)
            configuration = trial_configuration(services, TRAINING, payload.strategy)
            services.ledger.open_trial(work.operation_id, {**configuration, "seed": payload.seed})
            return {name: configuration[name] for name in ("strategy_sha256", "snapshot", "snapshots")}

        def keep(attempt: Path) -> JsonValue:
            return services.strategies.upload(payload.strategy, attempt, TRAINING_FILES)

        def publish() -> None:
            # What was computed from an earlier training of this strategy no longer belongs to it.
            sweeps = _sweeps_of(services, payload.strategy)
            outdated = (CYCLE_FILE, *ASSESSMENT_FILES, *reversed(BACKTEST_FILES), *sweeps)
            services.strategies.publish(
                payload.strategy, trained.attempt, TRAINING_FILES, uploaded=trained.kept, dropping=outdated
            )

        def tidy() -> None:
            discard_attempt(trained.attempt)
            checkpoints.discard(work.operation_id)

        basis = await work.step("open_trial", open_trial)
        request: Payload = {
            "strategy": payload.strategy,
            **_object(basis),
            "seed": payload.seed,
            "operation_id": work.operation_id,
        }
        try:
            trained = await run_repeated_job(services, work, TRAINING, _TRAINING_JOB, request, keep=keep)
        except KtrdrError as error:
            if not payload.part_of_cycle:
                services.ledger.close_trial(work.operation_id, {"outcome": f"training_failed:{error.reason}"})
            raise
        result = _object(trained.result)
        await work.publish("publish", publish)
        await work.step("tidy", tidy)
        if not payload.part_of_cycle:
            outcome: Payload = {"outcome": "trained", **result}
            await work.step("close_trial", lambda: services.ledger.close_trial(work.operation_id, outcome))
        return {"strategy_name": payload.strategy, "strategy_path": _path(services, payload.strategy), **result}

    return body


def backtest_operation(services: LaboratoryServices) -> Body:
    """Return the body of `backtesting`: trades the test blocks, publishes the files, returns metrics and verdict."""

    async def body(work: Work, document: Payload) -> JsonValue:
        payload = BacktestPayload.model_validate(document)
        if payload.sweep is not None:
            return await sweep_variants(services, work, payload.strategy, str(payload.strategy_sha256), payload.sweep)
        trial_id = payload.trial_id or work.operation_id

        def prepare() -> JsonValue:
            services.operations.write_metadata(work.operation_id, {"strategy_name": payload.strategy})
            if payload.trial_id is None:
                configuration = trial_configuration(services, BACKTESTING, payload.strategy)
                services.ledger.open_trial(work.operation_id, configuration)
            # Remembered with the step: a backtest that runs again after a crash is judged by the same history.
            return {
                "history": services.ledger.history(trial_id).model_dump(),
                "other_returns": list[JsonValue](services.ledger.returns_beside(trial_id)),
            }

        def keep(attempt: Path) -> JsonValue:
            return {
                "returns": services.stores.trials.upload(trial_id, attempt, (trial_file(trial_id),)),
                "files": services.strategies.upload(payload.strategy, attempt, BACKTEST_FILES),
            }

        def publish() -> None:
            attempt, kept = traded.attempt, _object(traded.kept)
            services.stores.trials.publish(trial_id, attempt, (trial_file(trial_id),), uploaded=kept["returns"])
            outdated = (CYCLE_FILE, *ASSESSMENT_FILES)
            services.strategies.publish(
                payload.strategy, attempt, BACKTEST_FILES, uploaded=kept["files"], dropping=outdated
            )
            discard_attempt(attempt)

        known = _object(await work.step("prepare", prepare))
        try:
            request: Payload = {"strategy": payload.strategy, "trial_id": trial_id, **known}
            traded = await run_repeated_job(services, work, BACKTESTING, _BACKTEST_JOB, request, keep=keep)
        except KtrdrError as error:
            if payload.trial_id is None:
                services.ledger.close_trial(trial_id, {"outcome": f"backtest_failed:{error.reason}"})
            raise
        result = _object(traded.result)
        await work.publish("publish", publish)
        if payload.trial_id is None:
            outcome = backtest_outcome(services, trial_id, "backtested", result)
            await work.step("close_trial", lambda: services.ledger.close_trial(trial_id, outcome))
        return {"strategy_name": payload.strategy, "strategy_path": _path(services, payload.strategy), **result}

    return body


def backtest_outcome(
    services: LaboratoryServices, trial_id: str, outcome: str, result: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return what the ledger keeps of a trial that got as far as a backtest; the path is relative to the workspace.

    `result` holds the backtest's `metrics` and `verdict`.
    """
    path = (services.settings.trials_folder / trial_file(trial_id)).relative_to(services.settings.workspace)
    return {
        "outcome": outcome,
        "metrics": result["metrics"],
        "verdict": result["verdict"],
        "daily_returns": str(path),
    }


def _sweeps_of(services: LaboratoryServices, strategy: str) -> list[str]:
    folder = services.strategies.folder(strategy)
    return [str(path.relative_to(folder)) for path in folder.glob(f"{SWEEPS_FOLDER}/*.parquet")]


def _path(services: LaboratoryServices, strategy: str) -> str:
    return str(services.strategies.path(strategy))


def _object(value: JsonValue) -> Payload:
    if not isinstance(value, dict):
        raise OperationFailed(f"a job must answer with an object, was {type(value).__name__}", reason="bad_result")
    return value
