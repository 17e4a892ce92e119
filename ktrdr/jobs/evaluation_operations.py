"""The operations `training` and `backtesting`: trial, job process, files into place."""

from pydantic import BaseModel, JsonValue

from ktrdr.artifacts.attempt import discard_attempt, publish_files
from ktrdr.artifacts.files import write_bytes_atomically
from ktrdr.errors import KtrdrError, OperationFailed
from ktrdr.jobs.files import ASSESSMENT_FILES, BACKTEST_FILES, DAILY_RETURNS_FILE, TRAINING_FILES, daily_returns_path
from ktrdr.jobs.repeated_job import run_repeated_job
from ktrdr.jobs.same_strategy import require_same_strategy
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.operations.runtime import Body
from ktrdr.operations.work import Payload, Work

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
    """What a `backtesting` operation is asked. `trial_id`: the training's; None opens a trial for the backtest."""

    strategy: str
    trial_id: str | None


def training_operation(services: LaboratoryServices) -> Body:
    """Return the body of `training`: counts the trial, trains, puts the files in place, returns the gate's metrics."""

    async def body(work: Work, document: Payload) -> JsonValue:
        payload = TrainingPayload.model_validate(document)
        folder = services.strategies.folder(payload.strategy)

        checkpoints = services.settings.checkpoints_folder / work.operation_id

        def open_trial() -> JsonValue:
            services.operations.write_metadata(work.operation_id, {"strategy_name": payload.strategy})
            require_same_strategy(services.strategies.read(payload.strategy), payload.strategy_sha256)
            configuration = _configuration(services, TRAINING, payload.strategy)
            services.ledger.open_trial(work.operation_id, {**configuration, "seed": payload.seed})
            return {name: configuration[name] for name in ("strategy_sha256", "snapshot")}

        def publish() -> None:
            if (attempt / TRAINING_FILES[-1]).exists():  # else it was done before a crash: later phases may have begun
                # What was computed from an earlier training of this strategy no longer belongs to it.
                for name in (*ASSESSMENT_FILES, *reversed(BACKTEST_FILES)):
                    (folder / name).unlink(missing_ok=True)
            publish_files(attempt, folder, TRAINING_FILES)
            discard_attempt(attempt)
            discard_attempt(checkpoints)

        basis = await work.step("open_trial", open_trial)
        request: Payload = {
            "strategy": payload.strategy,
            **_object(basis),
            "seed": payload.seed,
            "checkpoints": str(checkpoints),
        }
        try:
            trained = await run_repeated_job(services, work, TRAINING, _TRAINING_JOB, request)
        except KtrdrError as error:
            if not payload.part_of_cycle:
                services.ledger.close_trial(work.operation_id, {"outcome": f"training_failed:{error.reason}"})
            raise
        attempt, result = trained.attempt, _object(trained.result)
        await work.publish("publish", publish)
        if not payload.part_of_cycle:
            outcome: Payload = {"outcome": "trained", **result}
            await work.step("close_trial", lambda: services.ledger.close_trial(work.operation_id, outcome))
        return {"strategy_name": payload.strategy, "strategy_path": str(folder), **result}

    return body


def backtest_operation(services: LaboratoryServices) -> Body:
    """Return the body of `backtesting`: trades the test blocks, puts the files in place, returns the metrics."""

    async def body(work: Work, document: Payload) -> JsonValue:
        payload = BacktestPayload.model_validate(document)
        folder = services.strategies.folder(payload.strategy)
        trial_id = payload.trial_id or work.operation_id

        def prepare() -> None:
            services.operations.write_metadata(work.operation_id, {"strategy_name": payload.strategy})
            if payload.trial_id is None:
                configuration = _configuration(services, BACKTESTING, payload.strategy)
                services.ledger.open_trial(work.operation_id, configuration)

        def publish() -> None:
            returns = attempt / DAILY_RETURNS_FILE
            if returns.exists():
                write_bytes_atomically(
                    daily_returns_path(services.settings.state_folder, trial_id), returns.read_bytes()
                )
            if (attempt / BACKTEST_FILES[-1]).exists():  # else it was done before a crash: an assessment may have begun
                (folder / ASSESSMENT_FILES[0]).unlink(missing_ok=True)
            publish_files(attempt, folder, BACKTEST_FILES)
            discard_attempt(attempt)

        await work.step("prepare", prepare)
        try:
            traded = await run_repeated_job(services, work, BACKTESTING, _BACKTEST_JOB, {"strategy": payload.strategy})
        except KtrdrError as error:
            if payload.trial_id is None:
                services.ledger.close_trial(trial_id, {"outcome": f"backtest_failed:{error.reason}"})
            raise
        attempt, result = traded.attempt, traded.result
        await work.publish("publish", publish)
        if payload.trial_id is None:
            outcome = backtest_outcome(services, trial_id, "backtested", result)
            await work.step("close_trial", lambda: services.ledger.close_trial(trial_id, outcome))
        return {"strategy_name": payload.strategy, "strategy_path": str(folder), "metrics": result}

    return body


def _configuration(services: LaboratoryServices, kind: str, strategy: str) -> Payload:
    """Return what a trial tries, as the ledger keeps it."""
    specification = services.strategies.read(strategy)
    return {
        "kind": kind,
        "strategy": strategy,
        "strategy_sha256": specification.sha256(),
        "configuration_sha256": specification.configuration_sha256(),
        "symbol": specification.symbol,
        "timeframe": specification.timeframe,
        "snapshot": services.bars.research_series(specification.symbol, specification.timeframe).snapshot,
    }


def backtest_outcome(
    services: LaboratoryServices, trial_id: str, outcome: str, metrics: JsonValue
) -> dict[str, JsonValue]:
    """Return what the ledger keeps of a trial that got as far as a backtest; the path is relative to the workspace."""
    path = daily_returns_path(services.settings.state_folder, trial_id).relative_to(services.settings.workspace)
    return {"outcome": outcome, "metrics": metrics, "daily_returns": str(path)}


def _object(value: JsonValue) -> Payload:
    if not isinstance(value, dict):
        raise OperationFailed(f"a job must answer with an object, was {type(value).__name__}", reason="bad_result")
    return value
