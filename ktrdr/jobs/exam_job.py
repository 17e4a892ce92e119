"""Hold one exam and write its report into an attempt folder. The answer says nothing: agents can read operations."""

from pathlib import Path

from pydantic import BaseModel, JsonValue

from ktrdr.artifacts.files import write_json_atomically
from ktrdr.config import load_settings
from ktrdr.errors import OperationFailed
from ktrdr.evaluation.exam_report import exam_file
from ktrdr.evaluation.holdout import hold_exam
from ktrdr.evaluation.identity import exam_identity
from ktrdr.jobs.files import MODEL_FILE
from ktrdr.jobs.stores import open_job_stores
from ktrdr.operations.job_child import Report
from ktrdr.telemetry.stopwatch import Stopwatch
from ktrdr.training.model import read_model


class ExamJobRequest(BaseModel):
    """What the worker asks of an exam process: the look was opened for this identity."""

    strategy: str
    identity: str
    look: int
    operation_id: str
    attempt: str


def examine(document: dict[str, JsonValue], report: Report, stopwatch: Stopwatch) -> JsonValue:
    """Trade the sealed bars with the stored final model and write its report."""
    request = ExamJobRequest.model_validate(document)
    report(0.0, "reading the model")
    stores = open_job_stores(load_settings())
    strategies = stores.strategies
    specification = strategies.read(request.strategy)
    model_file = strategies.folder(request.strategy) / MODEL_FILE
    if exam_identity(specification, model_file) != request.identity:
        raise OperationFailed(
            f"{request.strategy} has another file or other weights than the look was opened for; put them back",
            reason="strategy_changed",
        )
    model = read_model(model_file)
    report(10.0, "sitting the exam")
    exam = hold_exam(specification, model, stores.bars, identity=request.identity, look=request.look)
    stopwatch.lap("exam.trade")
    write_json_atomically(Path(request.attempt) / exam_file(request.operation_id), exam.model_dump(mode="json"))
    return {}
