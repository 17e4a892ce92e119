"""What `ktrdr operations resume` and `retry` do."""

from collections.abc import Awaitable, Callable

from ktrdr.cli.agent_actions import strategy_of
from ktrdr.cli.cycle_report import cycle_lines, outcome_line
from ktrdr.cli.exit_codes import ExitCode, exit_code_of_operation
from ktrdr.cli.follow import start_and_follow
from ktrdr.cli.output import print_document, print_lines, say
from ktrdr.cli.run_actions import show_started
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

        followed = await start_and_follow(connection, start)
        ended = followed.operation
        if as_json:
            print_document(ended)
        elif ended.status.is_terminal:
            strategy = await strategy_of(connection, ended)
            print_lines(cycle_lines(ended, strategy) if strategy is not None else [outcome_line(ended)])
        if followed.interrupted:
            return ExitCode.INTERRUPTED
        return exit_code_of_operation(ended.status, ended.error.reason if ended.error else None)

    run_action(action, will_work=not detach)
