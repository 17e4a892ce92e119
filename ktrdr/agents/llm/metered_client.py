"""The one way to a provider: an HTTP client that reserves money before each attempt and settles after it.

Both SDKs send everything through it, so that whatever they or pydantic-ai do inside one "request" (a resumed pause, a
second try) is an attempt of its own in the ledger. Nothing is streamed: an answer is whole, or it is a failure. A
whole one is kept with its settlement, so that a call which is made again after a crash is answered from there.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx2
from pydantic import JsonValue

from ktrdr.agents.budget import BudgetLedger, PaidAnswer, Usage
from ktrdr.agents.llm.dialect import DEFINITE_REJECTIONS, Dialect
from ktrdr.clock import Clock
from ktrdr.errors import KtrdrError, OperationFailed, PricingUnknown

MAX_ATTEMPTS = 3
# A retry-after up to this is waited for, once; a longer one ends the phase, to be tried another time.
LONGEST_RETRY_AFTER_S = 20.0
_SPENT_IN_VAIN = {"overloaded": MAX_ATTEMPTS, "rate_limited": 2}  # attempts at most, by what was answered

_JSON = "application/json"
_logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pricing:
    """What a provider's tokens cost. `price` and `worst_case` raise PricingUnknown where no price is known."""

    price: Callable[[str, Usage], float]
    worst_case: Callable[[str, int, int], float]


@dataclass(frozen=True, slots=True)
class Meter:
    """On whose account attempts are made, and how long they may take."""

    ledger: BudgetLedger
    pricing: Pricing
    dialect: Dialect
    clock: Clock
    cycle_id: str
    operation_id: str
    model: str
    call_s: float
    backoff_s: float


@dataclass(slots=True)
class CallRecord:
    """What one call came to: every attempt's use, and the failure that ended it, if one did.

    `number` counts the calls of the operation, from 1; a replay after a crash gives each the number it had.
    """

    number: int
    attempts: int = 0
    usage: Usage | None = None
    cost_usd: float = 0.0
    failure: KtrdrError | None = None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What an attempt is settled with, and the failure that its answer is, if it is one.

    `cost_usd` is None where nobody knows it: the whole reservation stays.
    """

    cost_usd: float | None = None
    usage: Usage | None = None
    answer: PaidAnswer | None = None
    failure: KtrdrError | None = None


class MeteredClient(httpx2.AsyncClient):
    """Sends requests on a meter. `call` is what the present call came to; `begin_call` before each."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(follow_redirects=False, timeout=httpx2.Timeout(meter.call_s, connect=min(10.0, meter.call_s)))
        self._meter = meter
        self._deadline = float("inf")
        self.call = CallRecord(number=0)

    def begin_call(self, number: int, deadline: float) -> None:
        """Start a new record; the call must end by `deadline` on the event loop's clock (the phase's own)."""
        self.call = CallRecord(number)
        self._deadline = deadline

    async def send(self, request: httpx2.Request, **_: object) -> httpx2.Response:
        """Send a request as one or more attempts and return the whole answer.

        Raises:
            KtrdrError: The call failed; it stands in `call.failure` too, since SDKs wrap what passes through them.
        """
        try:
            return await self._send(request)
        except KtrdrError as error:
            self.call.failure = error
            raise

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        ledger, operation_id = self._meter.ledger, self._meter.operation_id
        paid = await asyncio.to_thread(ledger.paid_answer, operation_id, self.call.number)
        if paid is not None:  # a process died between the settlement and the record of its step
            response = httpx2.Response(200, headers={"content-type": _JSON}, content=paid.encode(), request=request)
            self._raise_failure(self._judge(response))
            return response
        while True:
            response = await self._attempt(request)
            if response.status_code == 200:
                return response
            reason = self._meter.dialect.name_rejection(response.status_code, _document(response) or {})
            wait_s = self._wait_before_retry(reason, response)
            if wait_s is None:
                raise OperationFailed(_describe(response, self._meter), reason=reason)
            _logger.info("%s: %s, trying again in %.1f s", self._meter.operation_id, reason, wait_s)
            await self._within_deadline(asyncio.sleep(wait_s), float("inf"))

    async def _attempt(self, request: httpx2.Request) -> httpx2.Response:
        """Reserve, send, settle: one attempt, whatever it comes to."""
        attempt_id = f"{self._meter.operation_id}:{uuid.uuid4().hex[:12]}"
        await self._reserve(attempt_id, request.content)
        self.call.attempts += 1
        outcome = _Outcome()
        try:
            response: httpx2.Response = await self._within_deadline(super().send(request), self._meter.call_s)
            outcome = self._judge(response)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
            outcome = _Outcome(cost_usd=0.0)
            raise OperationFailed(
                f"cannot connect to {request.url.host}: {type(error).__name__}", reason="connection"
            ) from None
        except httpx2.TimeoutException as error:
            raise OperationFailed(_slow(request.url.host, type(error).__name__), reason="anthropic_timeout") from None
        except httpx2.HTTPError as error:
            raise OperationFailed(
                f"the connection to {request.url.host} broke: {type(error).__name__}", reason="connection"
            ) from None
        finally:
            await to_the_end(lambda: self._settle(attempt_id, outcome))
        self._raise_failure(outcome)
        return response

    def _settle(self, attempt_id: str, outcome: _Outcome) -> None:
        self._meter.ledger.settle(attempt_id, amount_usd=outcome.cost_usd, usage=outcome.usage, answer=outcome.answer)

    @staticmethod
    def _raise_failure(outcome: _Outcome) -> None:
        if outcome.failure is not None:
            raise outcome.failure

    async def _reserve(self, attempt_id: str, body: bytes) -> None:
        meter = self._meter
        if asyncio.get_running_loop().time() >= self._deadline:
            raise OperationFailed("the phase's time was up before the call", reason="phase_timeout")
        amount_usd = meter.pricing.worst_case(meter.model, len(body), _output_limit(body))

        def reserve() -> None:
            meter.ledger.reserve(
                attempt_id=attempt_id,
                cycle_id=meter.cycle_id,
                operation_id=meter.operation_id,
                model=meter.model,
                amount_usd=amount_usd,
            )

        try:
            await to_the_end(reserve)
        except asyncio.CancelledError:  # cancelled while it was reserved: nothing was sent
            await to_the_end(lambda: meter.ledger.settle(attempt_id, amount_usd=0.0, usage=None))
            raise

    async def _within_deadline(self, waiting: Any, limit_s: float) -> Any:  # noqa: ANN401 - what it waits for
        """Wait for something for so long, and never past the phase's end: pings keep a read timeout from tripping."""
        now = asyncio.get_running_loop().time()
        phase_is_first = self._deadline < now + limit_s
        try:
            async with asyncio.timeout_at(min(now + limit_s, self._deadline)):
                return await waiting
        except TimeoutError:
            if phase_is_first:
                raise OperationFailed("the phase's time was up", reason="phase_timeout") from None
            raise OperationFailed(_slow("the provider", f"{limit_s:g} s"), reason="anthropic_timeout") from None

    def _judge(self, response: httpx2.Response) -> _Outcome:
        if response.status_code != 200:
            return _Outcome(cost_usd=0.0 if response.status_code in DEFINITE_REJECTIONS else None)
        document = _document(response)
        reply = self._meter.dialect.read_reply(document) if document is not None else None
        if reply is None:
            kind = response.headers.get("content-type", "nothing")[:40]
            return _Outcome(
                failure=OperationFailed(
                    f"{response.request.url.host} answered with {kind!r}, which is no answer of a language model",
                    reason="bad_response",
                )
            )
        cost_usd = self._price(reply.model, reply.usage)
        if reply.usage is not None:
            self.call.usage = reply.usage
            self.call.cost_usd += cost_usd or 0.0
        failure = None if reply.failure is None else OperationFailed(_STOPPED[reply.failure], reason=reply.failure)
        return _Outcome(cost_usd, reply.usage, PaidAnswer(self.call.number, json.dumps(document)), failure)

    def _price(self, model: str | None, usage: Usage | None) -> float | None:
        """Return the cost, or None where usage or price is unknown: the reservation then stays whole."""
        if usage is None:
            return None
        try:
            return self._meter.pricing.price(model or self._meter.model, usage)
        except PricingUnknown:
            return None

    def _wait_before_retry(self, reason: str, response: httpx2.Response) -> float | None:
        """Return for how long to wait before another attempt, None where there shall be none."""
        if self.call.attempts >= _SPENT_IN_VAIN.get(reason, 0):
            return None
        asked_s = self._retry_after(response.headers.get("retry-after"))
        if reason == "rate_limited":
            return asked_s if asked_s is not None and asked_s <= LONGEST_RETRY_AFTER_S else None
        wait_s = self._meter.backoff_s * 2 ** (self.call.attempts - 1) if asked_s is None else asked_s
        return wait_s if wait_s <= LONGEST_RETRY_AFTER_S else None

    def _retry_after(self, text: str | None) -> float | None:
        """Return the seconds that a retry-after header asks for, given as a number or a date."""
        if text is None:
            return None
        try:
            return max(0.0, float(text))
        except ValueError:
            pass
        try:
            return max(0.0, (parsedate_to_datetime(text) - self._meter.clock()).total_seconds())
        except (TypeError, ValueError):
            return None


_STOPPED = {
    "max_tokens": "the model reached its output limit in the middle of an answer",
    "context_window": "the conversation no longer fits the model's context window",
    "refused": "the model refused to answer",
}


async def to_the_end(function: Callable[[], T]) -> T:
    """Run a blocking function in a thread and wait for its end even when cancelled meanwhile."""
    task = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        task.exception()  # seen: the cancellation is what counts
        raise


def _document(response: httpx2.Response) -> dict[str, JsonValue] | None:
    try:
        document = json.loads(response.content)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _output_limit(body: bytes) -> int:
    """Return the output tokens that a request asks for at most."""
    document = json.loads(body)
    return int(document.get("max_tokens") or document["max_completion_tokens"])


def _describe(response: httpx2.Response, meter: Meter) -> str:
    # The provider's own words stay out: some repeat a part of the request, or of the key.
    return f"{response.request.url.host} answered {response.status_code} to a request for {meter.model}"


def _slow(host: str, what: str) -> str:
    return f"{host} did not answer in time ({what})"
