"""What the exit code of a command says."""

from enum import IntEnum

from ktrdr.errors import InvalidInput, KtrdrError, NotFound, ServerUnreachable

INTERRUPTED_REASON = "interrupted"
_BUDGET_REASONS = ("budget_exhausted", "design_failed:budget_exceeded", "assessment_failed:budget_exceeded")


class ExitCode(IntEnum):
    """Scripts rely on these."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    GATE_REFUSED = 5
    BUDGET_EXHAUSTED = 6
    INTERRUPTED = 130


def exit_code_of_error(error: KtrdrError) -> ExitCode:
    """Return the code for a command that an error ended."""
    if error.reason in _BUDGET_REASONS:
        return ExitCode.BUDGET_EXHAUSTED
    if error.reason == "gate_refused":
        return ExitCode.GATE_REFUSED
    if error.reason == INTERRUPTED_REASON:
        return ExitCode.INTERRUPTED
    if isinstance(error, InvalidInput):
        return ExitCode.USAGE
    if isinstance(error, ServerUnreachable):
        return ExitCode.UNREACHABLE
    if isinstance(error, NotFound):
        return ExitCode.NOT_FOUND
    return ExitCode.FAILED


def exit_code_of_operation(status: str, reason: str | None) -> ExitCode:
    """Return the code for a command that waited for an operation which ended so; `reason` is that of its error."""
    if status == "completed":
        return ExitCode.OK
    if reason is not None and reason.startswith("gate_failed:"):
        return ExitCode.GATE_REFUSED
    if reason in _BUDGET_REASONS:
        return ExitCode.BUDGET_EXHAUSTED
    return ExitCode.FAILED
