"""The operation `holdout_exam`: the look counted, the job, its report put away, the look closed.

Neither its result nor its metadata says how it went: operations are read by agents.
"""

from pathlib import Path

from pydantic import BaseModel, JsonValue

from ktrdr.artifacts.attempt import discard_attempt
from ktrdr.errors import OperationFailed
from ktrdr.evaluation.exam_report import ExamReport, exam_file
from ktrdr.jobs.exam_terms import exam_terms
from ktrdr.jobs.repeated_job import run_repeated_job
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.operations.runtime import Body
from ktrdr.operations.work import Payload, Work

HOLDOUT_EXAM = "holdout_exam"
_JOB = "ktrdr.jobs.exam"


class ExamPayload(BaseModel):
    """What a `holdout_exam` operation is asked. `identity`: what the exam is of, as it was when asked for."""

    strategy: str
    identity: str


def exam_operation(services: LaboratoryServices) -> Body:
    """Return the body of `holdout_exam`. One that was killed is finished by whoever takes it over: the same look."""

    async def body(work: Work, document: Payload) -> JsonValue:
        payload = ExamPayload.model_validate(document)
        shelf, file = services.stores.exams, exam_file(work.operation_id)

        def open_look() -> int:
            opened = services.exams.find(payload.identity)
            if opened is not None and opened.look.operation_id == work.operation_id:
                return opened.look.number
            terms = exam_terms(services, payload.strategy)
            if terms.identity != payload.identity:
                raise OperationFailed(
                    f"{payload.strategy} has another file or other weights than when its exam was asked for; ask again",
                    reason="strategy_changed",
                )
            return services.exams.open_look(terms.subject(work.operation_id), trial_head=services.ledger.head())

        def put_away() -> None:
            shelf.publish(work.operation_id, held.attempt, (file,), uploaded=held.kept)
            discard_attempt(held.attempt)

        def close_look() -> None:
            shelf.bring(work.operation_id)
            report = (shelf.folder(work.operation_id) / file).read_bytes()
            outcome = ExamReport.model_validate_json(report).outcome
            services.exams.close_look(payload.identity, outcome.model_dump(mode="json"))

        look = await work.step("open_look", open_look)
        request: Payload = {
            "strategy": payload.strategy,
            "identity": payload.identity,
            "look": look,
            "operation_id": work.operation_id,
        }

        def keep(attempt: Path) -> JsonValue:
            return shelf.upload(work.operation_id, attempt, (file,))

        held = await run_repeated_job(services, work, HOLDOUT_EXAM, _JOB, request, keep=keep)
        await work.publish("put_away", put_away)
        await work.step("close_look", close_look)
        return {"strategy_name": payload.strategy, "look": look}

    return body
