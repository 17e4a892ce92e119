"""How many requests came, how they ended and how long they took, by route."""

import time
from http import HTTPMethod

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What reached no route: unknown paths, and requests that were refused before anybody looked for one.
UNMATCHED, OTHER_METHOD = "unmatched", "other"
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class RequestMetricsMiddleware:
    """Counts every request, the refused ones too. Outermost: it sees the answer as the client does.

    A request lasts until its answer begins: a stream of events goes on for hours. Labels come from the routes and from
    HTTP, never from the request's own words, of which there may be any number.
    """

    def __init__(self, app: ASGIApp, *, registry: CollectorRegistry, prefix: str) -> None:
        self._app = app
        self._prefix = prefix
        self._requests = Counter(
            "http_requests_total", "Requests that were answered.", ["method", "route", "status"], registry=registry
        )
        self._duration = Histogram(
            "http_request_duration_seconds",
            "Time from a request to the beginning of its answer.",
            ["method", "route"],
            buckets=_BUCKETS_S,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def watch_start(message: Message) -> None:
            if message["type"] == "http.response.start":
                labels = _method(scope), self._route(scope)
                self._requests.labels(*labels, str(message["status"])).inc()
                self._duration.labels(*labels).observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, watch_start)

    def _route(self, scope: Scope) -> str:
        route = getattr(scope.get("route"), "path", None)
        if route is None:
            return UNMATCHED
        # A route knows its path within the router that it is included from.
        is_prefixed = scope["path"].startswith(self._prefix) and not route.startswith(self._prefix)
        return f"{self._prefix}{route}" if is_prefixed else str(route)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in HTTPMethod.__members__ else OTHER_METHOD
