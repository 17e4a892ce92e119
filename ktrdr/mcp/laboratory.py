"""The way to the API that all tool calls of one process share, and the worker that their work may need."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from ktrdr.client.api_client import ApiClient
from ktrdr.config import Settings
from ktrdr.connect.connection import Connection, connect
from ktrdr.connect.hosted_app import hosted_app
from ktrdr.connect.server_file import find_server
from ktrdr.errors import KtrdrError
from ktrdr.operations.operation import OperationStatus

_WORKER_CHECK_S = 2.0
_logger = logging.getLogger(__name__)


class Laboratory:
    """Speaks to the workspace's server, or hosts the app. Get one from `open_laboratory`."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._starting_worker = asyncio.Lock()
        self._work_expected = asyncio.Event()

    async def connection(self) -> Connection:
        """Return where to send a request now: a server may have gone, or come back elsewhere, since the last one.

        Raises:
            KtrdrError: As `connect`.
        """
        async with self._connecting:
            if self._connection is None or await self._has_moved(self._connection):
                # An earlier connection stays open to the end: somebody may still be waiting for its answer.
                opened = connect(self._settings, hosted_app, will_work=False)
                self._connection = await self._stack.enter_async_context(opened)
                self._work_expected.set()
            return self._connection

    async def client(self) -> ApiClient:
        """Return the client of `connection`."""
        return (await self.connection()).client

    async def ensure_worker(self) -> None:
        """See to it that somebody works now and as long as there is work. A server does so itself.

        Raises:
            KtrdrError: A worker cannot start (`worker_failed`).
        """
        connection = await self.connection()
        async with self._starting_worker:  # two calls at once would both wait for the one word that it says
            await connection.ensure_worker()
        self._work_expected.set()

    async def keep_working(self) -> None:
        """Keep a worker while there is work, whoever left it: from the start, and after each time some is started."""
        while True:
            await self._work_expected.wait()
            self._work_expected.clear()
            try:
                while await self._has_own_work():
                    await self.ensure_worker()
                    await asyncio.sleep(_WORKER_CHECK_S)
            except KtrdrError as error:  # told to whoever starts or watches work next
                _logger.error("nobody works: %s", error.message)

    async def _has_moved(self, connection: Connection) -> bool:
        if connection.is_embedded or self._settings.api_url is not None:
            return False
        server = await asyncio.to_thread(find_server, self._settings.state_folder)
        return server is None or server.url != connection.server_url

    async def _has_own_work(self) -> bool:
        """Whether work is left that only a worker of this process may be doing."""
        connection = await self.connection()
        if not connection.is_embedded:
            return False
        for status in (OperationStatus.RUNNING, OperationStatus.PENDING):
            if (await connection.client.list_operations(status=status, limit=1)).operations:
                return True
        return False


@asynccontextmanager
async def open_laboratory(settings: Settings) -> AsyncIterator[Laboratory]:
    """Yield the laboratory of a workspace; a worker that it had to start ends with it.

    Raises:
        KtrdrError: As `connect`.
    """
    async with AsyncExitStack() as stack:
        laboratory = Laboratory(settings, stack)
        await laboratory.connection()
        keeping = asyncio.create_task(laboratory.keep_working())
        try:
            yield laboratory
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
