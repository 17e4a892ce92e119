"""What `ktrdr operations resume` and `retry` do."""

from collections.abc import Awaitable, Callable

from ktrdr.cli.agent_actions import strategy_of
from ktrdr.cli.cycle_report import cycle_lines
from ktrdr.cli.follow import start_and_follow
from ktrdr.cli.output import say
from ktrdr.cli.run_actions import show_followed, show_started
from ktrdr.cli.session import require_server, run_action
from ktrdr.connect.connection import Connection
from ktrdr.errors import Conflict
from ktrdr.schemas.operations import OperationDocument

Request = Callable[[Connection, str], Awaitable[OperationDocument]]


def resume_operation(operation_id: str, detach: bool, as_json: bool) -> None:
    """Set a cancelled or interrupted operation going again."""
    _revive(_resume, operation_id, detach, as_json)


def retry_operation(operation_id: str, detach: bool, as_json: bool) -> None:
    """Try a failed operation again."""
    _revive(lambda connection, asked: connection.client.retry(asked), operation_id, detach, as_json)


async def _resume(connection: Connection, operation_id: str) -> OperationDocument:
    try:
        return await connection.client.resume(operation_id)
    except Conflict as error:
        operation = await connection.client.operation(operation_id)
        if error.reason != "not_resumable" or operation.status.is_terminal or not connection.is_embedded:
            raise
        return operation  # it had lost its worker, and this command's has taken it up already


def _revive(request: Request, operation_id: str, detach: bool, as_json: bool) -> None:
    async def action(connection: Connection) -> int:
        await connection.client.operation(operation_id)  # a mistyped id is no reason to start a worker first
        if detach:
            require_server(connection)
            return show_started(await request(connection, operation_id), as_json)

        async def start() -> str:
            operation = await request(connection, operation_id)
            end = "Ctrl-C cancels it" if connection.is_embedded else f"at {connection.server_url}, Ctrl-C detaches"
            say(f"{operation.type} {operation.operation_id} goes on ({end})")
            return operation.operation_id

        async def describe(ended: OperationDocument) -> list[str]:
            return cycle_lines(ended, await strategy_of(connection, ended))

        return await show_followed(await start_and_follow(connection, start), describe, as_json)

    run_action(action, will_work=not detach)
