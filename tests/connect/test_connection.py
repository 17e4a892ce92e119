import asyncio
import socket

import pytest

from ktrdr.config import load_settings
from ktrdr.connect.connection import connect
from ktrdr.connect.hosted_app import hosted_app
from ktrdr.connect.server_file import register_server
from ktrdr.connect.worker_process import live_workers_of
from ktrdr.errors import InvalidInput, ServerUnreachable


def _run(settings, question, *, will_work=False):
    async def run():
        async with connect(settings, hosted_app, will_work=will_work) as connection:
            return connection.is_embedded, connection.server_url, await question(connection)

    return asyncio.run(run())


async def _status(connection):
    return (await connection.client.agent_status()).status


def _closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_without_a_server_the_app_is_hosted_in_this_process_and_starts_no_worker_for_a_look(tmp_path):
    settings = load_settings({"KTRDR_WORKSPACE": str(tmp_path)})
    assert _run(settings, _status) == (True, None, "idle")
    assert live_workers_of(settings) == []


def test_worker_that_will_be_needed_starts_with_the_connection_and_ends_with_it(tmp_path):
    settings = load_settings({"KTRDR_WORKSPACE": str(tmp_path)})

    async def count(connection):
        await connection.ensure_worker()
        return len(live_workers_of(settings))

    assert _run(settings, count, will_work=True) == (True, None, 1)
    assert live_workers_of(settings) == []


def test_named_server_is_asked_and_none_other_even_if_it_does_not_answer(tmp_path):
    url = f"http://127.0.0.1:{_closed_port()}"
    settings = load_settings({"KTRDR_WORKSPACE": str(tmp_path), "KTRDR_API_URL": url})
    with pytest.raises(ServerUnreachable, match=url):
        _run(settings, _status)
    assert list(tmp_path.iterdir()) == []


def test_running_server_of_the_workspace_is_used_without_being_named(tmp_path):
    settings = load_settings({"KTRDR_WORKSPACE": str(tmp_path)})
    registration = register_server(settings.state_folder)
    url = f"http://127.0.0.1:{_closed_port()}"
    registration.announce(url)
    try:
        with pytest.raises(ServerUnreachable, match=url):
            _run(settings, _status)
    finally:
        registration.release()
    assert _run(settings, _status) == (True, None, "idle")


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://127.0.0.1", "http://[::1"])
def test_what_is_no_address_of_a_server_is_refused_before_anything_is_sent(tmp_path, url):
    settings = load_settings({"KTRDR_WORKSPACE": str(tmp_path), "KTRDR_API_URL": url})
    with pytest.raises(InvalidInput, match="KTRDR_API_URL: need an address"):
        _run(settings, _status)
