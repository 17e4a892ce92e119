"""The outermost layer of the app: who may ask, and what happens when something breaks."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ktrdr.api.errors import problem_response

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How many bytes a request may bring; `by_path` names the routes that may be sent more."""

    default_bytes: int
    by_path: Mapping[str, int]

    def of(self, path: str) -> int:
        """Return the limit of one route."""
        return self.by_path.get(path, self.default_bytes)


class EdgeMiddleware:
    """Refuses what a browser was tricked into sending and what is too large, and answers 500 where code broke.

    A server on loopback trusts whoever is on the machine, and a web page is not. A page of another site reaches
    us in two ways: with a name of its own that resolves to 127.0.0.1 (DNS rebinding: the Host header tells), or
    with a cross-origin request (Origin and Sec-Fetch-Site tell).
    """

    def __init__(self, app: ASGIApp, *, body_limits: BodyLimits) -> None:
        self._app = app
        self._body_limits = body_limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, limit = Headers(scope=scope), self._body_limits.of(scope["path"])
        refusal = refused_because(scope["method"], headers)
        if refusal is not None:
            reason, detail = refusal
            await _answer(HTTPStatus.FORBIDDEN, reason, detail, scope, receive, send)
        elif int(headers.get("content-length", "0")) > limit:  # the server has checked that it is a number
            await _answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, *_too_large(limit), scope, receive, send)
        else:
            await self._serve(scope, _limited(receive, limit), send)

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
            detail = "ktrdr failed in an unexpected way; the trace is in the server's log, or without a server in "
            await _answer(
                HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail + ".ktrdr/ktrdr.log", scope, receive, send
            )


async def _answer(status: HTTPStatus, reason: str, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
    response = problem_response(status, reason=reason, detail=detail, instance=scope["path"])
    await response(scope, receive, send)


def _too_large(limit: int) -> tuple[str, str]:
    return "request_too_large", f"the request brings more than the {limit} bytes that are allowed here"


def _limited(receive: Receive, limit: int) -> Receive:
    """Return a `receive` that refuses to go on past `limit` bytes: a chunked body does not say how long it is."""
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(limit)[1])
        return message

    return receive_limited


def refused_because(method: str, headers: Headers) -> tuple[str, str] | None:
    """Return the reason and the words of a refusal, or None for a request that may go on."""
    host = headers.get("host", "")
    if _host_name(host) not in LOOPBACK_NAMES:
        return "host_not_allowed", f"this server answers to localhost and 127.0.0.1 only, not to {host[:100]!r}"
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
        return "origin_not_allowed", f"requests from pages of {origin[:100]!r} are refused"
    site = headers.get("sec-fetch-site", "none")
    if method not in _SAFE_METHODS and site not in ("none", "same-origin"):
        return "origin_not_allowed", f"a page of another site may not send {method} requests"
    return None


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
