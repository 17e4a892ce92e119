import asyncio

import httpx
import pytest

from ktrdr.api.app import close_app, create_app
from ktrdr.cli.watch import watch
from ktrdr.client.api_client import ApiClient
from ktrdr.config import load_settings
from ktrdr.connect.connection import Connection
from ktrdr.schemas.agent import TriggerRequest


class WithoutStreams(httpx.AsyncBaseTransport):
    """The real app behind something that does not let streams through."""

    def __init__(self, app):
        self._inner = httpx.ASGITransport(app)

    async def handle_async_request(self, request):
        if request.url.path.endswith("/events"):
            return httpx.Response(200, json={"streams": "not here"}, request=request)
        return await self._inner.handle_async_request(request)


@pytest.fixture
def app(tmp_path):
    app = create_app(load_settings({"KTRDR_WORKSPACE": str(tmp_path)}))
    yield app
    close_app(app)


def test_watch_asks_again_and_again_where_streams_are_refused(app):
    async def run():
        async with httpx.AsyncClient(transport=WithoutStreams(app), base_url="http://127.0.0.1") as http:
            client, seen, tasks = ApiClient(http), [], []
            accepted = await client.trigger(TriggerRequest())

            def show(operation):
                if not seen:
                    tasks.append(asyncio.ensure_future(client.cancel(operation.operation_id)))
                seen.append(operation.status)

            connection = Connection(client, "http://127.0.0.1", None)
            ended = await watch(connection, accepted.operation_id, show)
            await asyncio.gather(*tasks)
            return seen, ended.status

    assert asyncio.run(run()) == (["pending", "cancelled"], "cancelled")
