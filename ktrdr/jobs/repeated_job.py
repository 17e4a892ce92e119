"""Run an operation's job, and again where what ended it was the machine's fault."""

from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from ktrdr.jobs.services import LaboratoryServices
from ktrdr.operations.work import JobOutcome, Payload, Repetition, Work

# The machine's fault, mostly: another process took its memory. What a job says itself it would say again.
_PASSING_REASONS = frozenset({"process_died"})


async def run_repeated_job(
    services: LaboratoryServices,
    work: Work,
    phase: str,
    module: str,
    request: Payload,
    *,
    keep: Callable[[Path], JsonValue] | None = None,
) -> JobOutcome:
    """Run a job's module until it answers, as often as the settings allow; `keep` as in `Work.run_job`.

    Raises:
        OperationFailed: What the last run failed with.
    """
    settings = services.settings
    again = Repetition(_PASSING_REASONS, settings.repeat.times, settings.repeat.backoff_s)

    async def run() -> JobOutcome:
        return await work.run_job(module, request, attempts=settings.attempts_folder, keep=keep)

    return await work.repeating(phase, run, again)
