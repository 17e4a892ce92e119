"""The operation `holdout_exam`: the look counted, the job, its report put away, the look closed.

Neither its result nor its metadata says how it went: operations are read by agents.
"""

from pydantic import BaseModel, JsonValue

from ktrdr.artifacts.attempt import discard_attempt
from ktrdr.artifacts.files import write_bytes_atomically
from ktrdr.errors import OperationFailed
from ktrdr.evaluation.exam_report import EXAM_FILE, ExamReport, exam_path
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
        kept = exam_path(services.settings.state_folder, work.operation_id)

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
            if (held.attempt / EXAM_FILE).exists():
                write_bytes_atomically(kept, (held.attempt / EXAM_FILE).read_bytes())
                discard_attempt(held.attempt)

        def close_look() -> None:
            outcome = ExamReport.model_validate_json(kept.read_bytes()).outcome
            services.exams.close_look(payload.identity, outcome.model_dump(mode="json"))

        look = await work.step("open_look", open_look)
        request: Payload = {"strategy": payload.strategy, "identity": payload.identity, "look": look}
        held = await run_repeated_job(services, work, HOLDOUT_EXAM, _JOB, request)
        await work.publish("put_away", put_away)
        await work.step("close_look", close_look)
        return {"strategy_name": payload.strategy, "look": look}

    return body
