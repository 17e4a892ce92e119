"""What `ktrdr data fetch` does."""

from ktrdr.cli.cycle_report import outcome_line
from ktrdr.cli.exit_codes import ExitCode, exit_code_of_operation
from ktrdr.cli.follow import start_and_follow
from ktrdr.cli.output import print_document, print_lines, say
from ktrdr.cli.session import require_server, run_action
from ktrdr.connect.connection import Connection
from ktrdr.schemas.markets import FetchRequest
from ktrdr.schemas.operations import OperationDocument


def fetch_bars(request: FetchRequest, detach: bool, as_json: bool) -> None:
    """Start a `data_load`, follow it unless told not to, and show what became of the series."""

    async def action(connection: Connection) -> int:
        if detach:
            require_server(connection)
            operation = await connection.client.fetch_market(request)
            if as_json:
                print_document(operation)
            else:
                print_lines([operation.operation_id])
                say(f"Started. Watch it: ktrdr operations watch {operation.operation_id}")
            return ExitCode.OK

        async def start() -> str:
            operation = await connection.client.fetch_market(request)
            say(f"{operation.type} {operation.operation_id}")
            return operation.operation_id

        followed = await start_and_follow(connection, start)
        ended = followed.operation
        notices = _notices(ended)
        for notice in notices:
            say(f"note: {notice}")
        if as_json:
            print_document(ended)
        elif ended.status.is_terminal:
            print_lines([outcome_line(ended), *_result_lines(ended)])
        if followed.interrupted:
            return ExitCode.INTERRUPTED
        return exit_code_of_operation(ended.status, ended.error.reason if ended.error else None)

    run_action(action, will_work=not detach)


def _notices(operation: OperationDocument) -> list[str]:
    notices = operation.result.get("notices") if isinstance(operation.result, dict) else None
    return [str(notice) for notice in notices] if isinstance(notices, list) else []


def _result_lines(operation: OperationDocument) -> list[str]:
    result = operation.result
    if not isinstance(result, dict):
        return []
    series, bars = f"{result.get('symbol')} {result.get('timeframe')}", result.get("loaded_bars")
    return [f"{result.get('change')}: {series}, {bars} bars loaded, {result.get('research_bars')} for research"]
