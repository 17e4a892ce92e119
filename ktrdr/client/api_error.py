"""Answers that are errors, turned back into the errors they were on the other side."""

from typing import NoReturn

import httpx
from pydantic import ValidationError

from ktrdr.errors import Conflict, InvalidInput, KtrdrError, NotFound, ServerUnreachable
from ktrdr.schemas.agent import TriggerRefused
from ktrdr.schemas.problem import Problem


class ErrorAnswer(Exception):
    """The cause of an error that the API answered. `body` is the JSON that it sent."""

    def __init__(self, body: str) -> None:
        super().__init__(body)
        self.body = body


def raise_for_error(response: httpx.Response) -> None:
    """Return if the answer is a success.

    Raises:
        KtrdrError: The class that the code stands for, with the `reason` and the words of the answer.
        ServerUnreachable: Something answered that is not ktrdr.
    """
    if response.is_success:
        return
    raise _error_of(response.status_code, problem_of(response)) from ErrorAnswer(response.text)


def _error_of(status: int, problem: Problem) -> KtrdrError:
    match status:
        case 404:
            return NotFound(problem.detail, reason=problem.reason)
        case 409:
            blocker = (problem.model_extra or {}).get("operation_id")
            return Conflict(problem.detail, reason=problem.reason, operation_id=blocker)
        case 400 | 401 | 403 | 408 | 413 | 422:
            return InvalidInput(problem.detail, reason=problem.reason)
        case _:
            return KtrdrError(problem.detail, reason=problem.reason)


def raise_refusal(response: httpx.Response) -> NoReturn:
    """Raise a refused trigger as an error that says what to do next.

    Raises:
        Conflict: Always.
    """
    refusal = TriggerRefused.model_validate_json(response.content)
    words = {
        "active_cycle_exists": (
            f"a research cycle is active already: {refusal.operation_id}. Watch it with `ktrdr operations watch "
            f"{refusal.operation_id}` or end it with `ktrdr agent cancel {refusal.operation_id}`"
        ),
        "market_findings": (
            "the bars of the strategy's market have serious findings; `ktrdr data check` shows them, and "
            "--accept-findings there uses the bars as they are"
        ),
        "strategy_busy": f"the strategy is in use by {refusal.operation_id}; wait for it or cancel it",
        "budget_exhausted": (
            "what is left of today's budget does not hold a whole cycle; `ktrdr agent budget` shows it. A new day "
            "starts at midnight UTC; KTRDR_AGENT_DAILY_BUDGET_USD and KTRDR_AGENT_CYCLE_BUDGET_USD set the limits"
        ),
    }
    message = words.get(refusal.reason, f"the server refused to start a cycle: {refusal.reason}")
    error = Conflict(message, reason=refusal.reason, operation_id=refusal.operation_id)
    raise error from ErrorAnswer(response.text)


def problem_of(response: httpx.Response) -> Problem:
    """Return the problem document of an answer.

    Raises:
        ServerUnreachable: It holds none, so whoever answered is not ktrdr.
    """
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        raise ServerUnreachable(
            f"{response.request.url} answered {response.status_code} with something that is no answer of ktrdr. "
            "Check KTRDR_API_URL, or unset it to work without a server"
        ) from None
