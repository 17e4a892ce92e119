import asyncio
import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from ktrdr.api.app import close_app, create_app
from ktrdr.client.api_client import ApiClient
from ktrdr.client.api_error import ErrorAnswer
from ktrdr.config import load_settings
from ktrdr.errors import Conflict, InvalidInput, KtrdrError, NotFound, ServerUnreachable
from ktrdr.schemas.agent import TriggerRequest
from ktrdr.schemas.strategies import BacktestRequest


@pytest.fixture
def app(tmp_path):
    app = create_app(load_settings({"KTRDR_WORKSPACE": str(tmp_path)}))
    yield app
    close_app(app)


def _ask(app, question):
    async def ask():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await question(ApiClient(http))

    return asyncio.run(ask())


def _ask_at(url, question):
    async def ask():
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            return await question(ApiClient(http))

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("question", "kind", "reason"),
    [
        (lambda client: client.operation("op_none"), NotFound, "operation_not_found"),
        (lambda client: client.strategy("nobody_has_it"), NotFound, "unknown_strategy"),
        (lambda client: client.strategy("Not A Name"), InvalidInput, "invalid_name"),
        (lambda client: client.backtest(BacktestRequest(strategy="nobody_has_it")), NotFound, "unknown_strategy"),
        (lambda client: client.list_operations(cursor="nonsense"), InvalidInput, None),
        (lambda client: client.add_strategy(b"schema: 2"), InvalidInput, "strategy_invalid"),
        (lambda client: client.strategy("../agent/status"), InvalidInput, "invalid_input"),
        (lambda client: client.operation(""), InvalidInput, "invalid_input"),
        (lambda client: client.trigger(TriggerRequest(model="claude-9")), InvalidInput, "model_unavailable"),
    ],
)
def test_error_of_the_api_is_raised_as_it_was_raised_there(app, question, kind, reason):
    with pytest.raises(kind) as caught:
        _ask(app, question)
    assert type(caught.value) is kind
    assert reason in (None, caught.value.reason)


def test_refused_trigger_names_the_active_cycle_and_keeps_the_answer(app):
    async def trigger_twice(client: ApiClient) -> str:
        accepted = await client.trigger(TriggerRequest())
        with pytest.raises(Conflict) as caught:
            await client.trigger(TriggerRequest())
        assert (caught.value.reason, caught.value.operation_id) == ("active_cycle_exists", accepted.operation_id)
        assert f"ktrdr agent cancel {accepted.operation_id}" in caught.value.message
        assert isinstance(caught.value.__cause__, ErrorAnswer)
        assert '"triggered":false' in caught.value.__cause__.body
        await client.cancel(accepted.operation_id)
        return accepted.operation_id

    operation_id = _ask(app, trigger_twice)
    status = _ask(app, lambda client: client.agent_status())
    assert status.last_cycle is not None
    assert status.last_cycle.operation_id == operation_id


def test_ended_operation_cannot_be_cancelled_but_a_cancelled_one_can_once_more(app):
    async def cancel_twice(client: ApiClient) -> list[str]:
        accepted = await client.trigger(TriggerRequest())
        return [(await client.cancel(accepted.operation_id)).status for _ in range(2)]

    assert _ask(app, cancel_twice) == ["cancelled", "cancelled"]


def test_closed_port_is_an_unreachable_server_and_says_what_to_do():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(ServerUnreachable, match="KTRDR_API_URL") as caught:
        _ask_at(url, lambda client: client.agent_status())
    assert url in caught.value.message


@contextmanager
def _other_program(status: int, body: bytes) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>hello</html>"), (404, b"not here"), (200, b"{}"), (302, b""), (500, b"{}")]
)
def test_other_program_on_the_port_is_not_taken_for_ktrdr(status, body):
    with _other_program(status, body) as url, pytest.raises(ServerUnreachable, match=url):
        _ask_at(url, lambda client: client.agent_status())


def test_failure_of_the_server_is_neither_the_users_fault_nor_unreachable():
    problem = b'{"title": "Internal Server Error", "status": 500, "detail": "it broke", "reason": "internal_error"}'
    with _other_program(500, problem) as url, pytest.raises(KtrdrError, match="it broke") as caught:
        _ask_at(url, lambda client: client.agent_status())
    assert type(caught.value) is KtrdrError


def test_field_that_a_newer_server_adds_is_ignored():
    budget = b'{"day": "2026-03-01", "daily_limit_usd": 5, "cycle_limit_usd": 0.5, "spent_usd": 0, "reserved_usd": 0, '
    status = b'{"status": "idle", "operation": null, "active": [], "last_cycle": null, "mood": "good", "budget": '
    status += budget + b'"remaining_usd": 5}}'
    with _other_program(200, status) as url:
        assert _ask_at(url, lambda client: client.agent_status()).status == "idle"
