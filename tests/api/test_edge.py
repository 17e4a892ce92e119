import asyncio
import logging

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.datastructures import Headers

from ktrdr.api.access import AccessPolicy
from ktrdr.api.edge import BodyLimits, EdgeMiddleware
from ktrdr.api.errors import install_error_handlers


def _app() -> FastAPI:
    app = FastAPI()
    app.add_middleware(
        EdgeMiddleware, access=AccessPolicy(None), body_limits=BodyLimits(1000, {"/large": 2000}, patience_s=0.2)
    )
    install_error_handlers(app)

    @app.post("/large")
    @app.post("/small")
    async def count(request: Request) -> int:
        return len(await request.body())

    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("a secret that must stay inside")

    return app


def refused_because(method, headers, path="/api/v1/operations", policy=AccessPolicy(None)):  # noqa: B008
    refusal = policy.refusal(method, path, headers)
    return refusal and (refusal.reason, refusal.status.value, refusal.headers.get("www-authenticate"))


def _send(method: str, path: str, **options) -> httpx.Response:
    async def exchange() -> httpx.Response:
        transport = httpx.ASGITransport(_app())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.request(method, path, **options)

    return asyncio.run(exchange())


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
def test_request_by_a_loopback_name_is_served(host):
    assert refused_because("POST", Headers({"host": host})) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", "0.0.0.0"],
)
def test_request_by_another_name_is_refused_because_dns_may_have_been_rebound(host):
    refusal = refused_because("GET", Headers({"host": host}))
    assert refusal is not None
    assert refusal[0] == "host_not_allowed"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {"origin": "http://evil.example"}),
        ("GET", {"origin": "http://evil.example"}),
        ("POST", {"origin": "null"}),
        ("POST", {"origin": "http://localhost:9999"}),
        ("POST", {"sec-fetch-site": "cross-site"}),
        ("POST", {"sec-fetch-site": "same-site"}),
    ],
)
def test_request_from_a_page_of_another_origin_is_refused(method, headers):
    refusal = refused_because(method, Headers({"host": "localhost:8000", **headers}))
    assert refusal is not None
    assert refusal[0] == "origin_not_allowed"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}),
        ("GET", {"sec-fetch-site": "cross-site"}),  # a link on another page, followed
        ("POST", {}),  # no browser
    ],
)
def test_request_of_our_own_page_or_of_no_browser_is_served(method, headers):
    assert refused_because(method, Headers({"host": "localhost:8000", **headers})) is None


def test_refusal_at_the_edge_is_a_problem_document():
    response = _send("GET", "/broken", headers={"host": "evil.example"})
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["reason"] == "host_not_allowed"


def test_unexpected_error_is_logged_with_its_trace_and_answered_without_it(caplog):
    with caplog.at_level(logging.ERROR):
        response = _send("GET", "/broken")
    assert response.status_code == 500
    assert response.json()["reason"] == "internal_error"
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    [record] = caplog.records
    assert record.exc_info[0] is ZeroDivisionError


TOKEN = "0123456789abcdef-secret"


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (None, "token_missing"),
        ("Basic " + TOKEN, "token_missing"),
        ("Bearer", "token_wrong"),
        ("Bearer " + TOKEN[:-1], "token_wrong"),
        ("Bearer \xe9", "token_wrong"),
        ("Bearer " + TOKEN, None),
        ("bearer  " + TOKEN, None),
    ],
)
def test_with_a_token_every_route_but_health_needs_it_and_the_refusal_says_how(shown, reason):
    policy = AccessPolicy(TOKEN)
    headers = Headers({"host": "localhost", **({} if shown is None else {"authorization": shown})})
    refusal = refused_because("GET", headers, policy=policy)
    assert (None if refusal is None else (refusal[0], refusal[1], refusal[2][:6])) == (
        None if reason is None else (reason, 401, "Bearer")
    )
    assert refused_because("GET", headers, "/health", policy) is None
    assert TOKEN not in repr(policy)


def test_server_that_others_can_reach_answers_to_any_name_but_to_no_page_of_another_site():
    policy = AccessPolicy(TOKEN, is_loopback=False)
    shown = {"host": "lab.example:8000", "authorization": f"Bearer {TOKEN}"}
    assert refused_because("POST", Headers(shown), policy=policy) is None
    assert refused_because("POST", Headers({**shown, "origin": "http://evil.example"}), policy=policy)


async def _dripping():
    for _ in range(100):
        yield b"x"
        await asyncio.sleep(0.02)


def test_body_that_drips_is_given_up():
    response = _send("POST", "/small", content=_dripping())
    assert (response.status_code, response.json()["reason"]) == (408, "request_too_slow")


async def _chunks(total: int):
    for _ in range(total // 100):
        yield b"x" * 100


@pytest.mark.parametrize("content", [b"x" * 1001, _chunks(1100)], ids=["announced", "chunked"])
def test_body_above_the_limit_is_refused_whether_or_not_it_says_its_length(content):
    response = _send("POST", "/small", content=content)
    assert response.status_code == 413
    assert response.json()["reason"] == "request_too_large"
    assert "1000 bytes" in response.json()["detail"]


def test_body_at_the_limit_of_its_route_is_read_whole():
    assert _send("POST", "/small", content=b"x" * 1000).json() == 1000
    assert _send("POST", "/large", content=_chunks(2000)).json() == 2000
