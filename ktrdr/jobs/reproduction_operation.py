"""The operation `reproduction`: a strategy's training and backtest done again elsewhere, and compared byte by byte."""

from pydantic import BaseModel, JsonValue

from ktrdr.artifacts.attempt import discard_attempt
from ktrdr.jobs.repeated_job import run_repeated_job
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.operations.runtime import Body
from ktrdr.operations.work import Payload, Work

REPRODUCTION = "reproduction"
_JOB = "ktrdr.jobs.reproduction"


class ReproductionPayload(BaseModel):
    """What a `reproduction` operation is asked."""

    strategy: str


def reproduction_operation(services: LaboratoryServices) -> Body:
    """Return the body of `reproduction`. Nothing of it is kept but what differs, so it is no trial."""

    async def body(work: Work, document: Payload) -> JsonValue:
        payload = ReproductionPayload.model_validate(document)
        again = await run_repeated_job(services, work, REPRODUCTION, _JOB, payload.model_dump())
        await work.step("discard", lambda: discard_attempt(again.attempt))
        return again.result

    return body
