"""Watch an operation until it ends: told by the server at every change, or asking again and again."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from ktrdr.cli.output import say
from ktrdr.client.api_client import StreamRefused
from ktrdr.connect.connection import Connection
from ktrdr.errors import KtrdrError, ServerUnreachable
from ktrdr.schemas.operations import OperationDocument

POLL_S = 0.25
_WORKER_CHECK_S = 1.0
# Work that waits longer than a worker takes to start may wait for a worker that nobody starts.
_WAIT_WORTH_A_WORD_S = 5.0
# A server that is being restarted, or waits for its database, is no reason to lose sight of hours of work.
_PATIENCE_S = 60.0
_RETRY_S = 1.0
_PASSING_REASONS = ("database_unavailable",)

Show = Callable[[OperationDocument], None]


async def watch(connection: Connection, operation_id: str, show: Show) -> OperationDocument:
    """Call `show` with an operation now and after every change; return it at its end.

    A server that goes away is waited for, a minute at most.
    """
    shown: OperationDocument | None = None
    hint = asyncio.ensure_future(_hint_at_missing_worker(connection, operation_id))
    try:
        async for latest in _changes(connection, operation_id):
            if latest != shown:
                show(latest)
                shown = latest
            if latest.status.is_terminal:
                return latest
    finally:
        hint.cancel()
    raise AssertionError("unreachable: changes end with an end, or with an error")


async def _changes(connection: Connection, operation_id: str) -> AsyncIterator[OperationDocument]:
    is_streaming = not connection.is_embedded  # in this process an answer comes as a whole, so never
    while True:
        # Before the stream is opened, and after it broke: the server may be coming up again.
        latest = await _read_patiently(connection, operation_id)
        yield latest
        if is_streaming and not latest.status.is_terminal:
            try:
                async for changed in connection.client.events(latest.operation_id):
                    yield changed
            except StreamRefused:
                is_streaming = False
            except ServerUnreachable:
                pass  # it ended while we listened: ask until it is back
        await connection.ensure_worker()
        await asyncio.sleep(POLL_S)


async def _hint_at_missing_worker(connection: Connection, operation_id: str) -> None:
    await asyncio.sleep(_WAIT_WORTH_A_WORD_S)
    try:
        operation, readiness = await connection.client.operation(operation_id), await connection.client.readiness()
    except KtrdrError:
        return  # a hint is not worth ending the wait for
    if operation.status == "pending" and readiness.workers == 0:
        say("No worker is alive, so this waits until one is: start `ktrdr worker` in the server's workspace")


async def _read_patiently(connection: Connection, operation_id: str) -> OperationDocument:
    deadline: float | None = None
    while True:
        try:
            return await connection.client.operation(operation_id)
        except KtrdrError as error:
            if not isinstance(error, ServerUnreachable) and error.reason not in _PASSING_REASONS:
                raise
            if deadline is None:
                say(f"{error.message.splitlines()[0]}; trying again for {_PATIENCE_S:.0f} s")
                deadline = time.monotonic() + _PATIENCE_S
            elif time.monotonic() > deadline:
                raise
            await asyncio.sleep(_RETRY_S)
