"""The outermost layer of the app: who may ask, how much they may bring, and what happens when something breaks."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ktrdr.api.access import AccessPolicy, Refusal
from ktrdr.api.errors import problem_response

# A body may take its time as long as it keeps coming: a line this slow (bytes a second) is none.
_SLOWEST_LINE = 16 * 1024
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How many bytes a request may bring; `by_path` names the routes that may be sent more.

    A body must arrive within `patience_s`, and a large one at 16 KiB a second beyond that.
    """

    default_bytes: int
    by_path: Mapping[str, int]
    patience_s: float = 30.0

    def of(self, path: str) -> int:
        """Return the limit of one route."""
        return self.by_path.get(path, self.default_bytes)


class EdgeMiddleware:
    """Refuses who may not ask and what is too large or too slow, and answers 500 where code broke."""

    def __init__(self, app: ASGIApp, *, access: AccessPolicy, body_limits: BodyLimits) -> None:
        self._app = app
        self._access = access
        self._body_limits = body_limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, limit = Headers(scope=scope), self._body_limits.of(scope["path"])
        refusal = self._access.refusal(scope["method"], scope["path"], headers)
        if refusal is None and int(headers.get("content-length", "0")) > limit:  # the server checked that it is one
            refusal = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request_too_large", _too_large(limit))
        if refusal is not None:
            await answer_refusal(refusal, scope, receive, send)
        else:
            await self._serve(scope, _limited(receive, limit, self._body_limits.patience_s), send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def watch_start(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch_start)
        except Exception:  # the HTTP edge: recorded with its trace, answered without it
            _logger.exception("%s %s broke", scope["method"], scope["path"])
            if has_started:
                raise  # half an answer is out; the connection must break, or the client would take it for whole
            detail = (
                "ktrdr failed in an unexpected way; the trace is in the server's log, or without a server in "
                ".ktrdr/logs"
            )
            refusal = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail)
            await answer_refusal(refusal, scope, receive, send)


async def answer_refusal(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that may not go on with a problem document."""
    response = problem_response(
        refusal.status,
        reason=refusal.reason,
        detail=refusal.detail,
        instance=scope["path"],
        headers=refusal.headers,
    )
    await response(scope, receive, send)


def _too_large(limit: int) -> str:
    return f"the request brings more than the {limit} bytes that are allowed here"


def _limited(receive: Receive, limit: int, patience_s: float) -> Receive:
    """Return a `receive` that gives up past `limit` bytes, which a chunked body does not announce, and on a slow one.

    Once the body is there it waits as long as it is asked to: for the client to go away.
    """
    received, is_whole = 0, False
    began = time.monotonic()

    async def receive_limited() -> Message:
        nonlocal received, is_whole
        if is_whole:
            return await receive()
        left_s = began + patience_s + received / _SLOWEST_LINE - time.monotonic()
        try:
            message = await asyncio.wait_for(receive(), max(left_s, 0.0))
        except TimeoutError:
            detail = f"the body did not arrive within {patience_s:g} s"
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail, {"connection": "close"}) from None
        received += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if received > limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(limit))
        return message

    return receive_limited
