"""Start an operation and wait for its end; what Ctrl-C means meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ktrdr.cli.output import say
from ktrdr.cli.progress_display import progress_display
from ktrdr.cli.watch import watch
from ktrdr.connect.connection import Connection
from ktrdr.errors import Conflict
from ktrdr.schemas.operations import OperationDocument


@dataclass(frozen=True, slots=True)
class Followed:
    """An operation as it was when waiting for it ended: at its end, or at an interruption."""

    operation: OperationDocument
    interrupted: bool


async def start_and_follow(connection: Connection, start: Callable[[], Awaitable[str]]) -> Followed:
    """Start an operation, show its progress and return it at its end.

    Ctrl-C cancels an operation that would end with this command anyway, and leaves one alone that a server runs.

    Args:
        connection: Where to.
        start: Makes the request that starts it; returns its id.
    """
    await connection.ensure_worker()  # before anything is written: without a worker the work would only lie there
    starting = asyncio.ensure_future(start())
    try:
        # Shielded: a request that is under way will be answered, and what it starts must not be lost sight of.
        operation_id = await asyncio.shield(starting)
        with progress_display() as display:
            return Followed(await watch(connection, operation_id, display.show), interrupted=False)
    except asyncio.CancelledError:
        _accept_interruption()
        operation_id = await starting
        if connection.is_embedded:
            return await _cancel(connection, operation_id)
        say_detached(connection, operation_id)
        return Followed(await connection.client.operation(operation_id), interrupted=True)


def say_detached(connection: Connection, operation_id: str) -> None:
    """Say that an operation goes on without this command, and how to come back."""
    place = f"goes on at {connection.server_url}" if connection.server_url else "goes on when a worker runs"
    say(
        f"Detached: {operation_id} {place}.\n"
        f"  watch it again:  ktrdr operations watch {operation_id}\n"
        f"  cancel it:       ktrdr operations cancel {operation_id}"
    )


def _accept_interruption() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()  # putting things in order takes requests, which a cancelled task could not make


async def _cancel(connection: Connection, operation_id: str) -> Followed:
    say(f"Cancelling {operation_id} (Ctrl-C again gives up waiting)")
    try:
        await connection.client.cancel(operation_id)
    except Conflict:
        pass  # it ended in the same moment
    return Followed(await watch(connection, operation_id, lambda _: None), interrupted=True)
