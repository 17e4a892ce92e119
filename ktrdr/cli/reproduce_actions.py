"""What `ktrdr strategies reproduce` does."""

from pydantic import JsonValue

from ktrdr.cli.cycle_report import outcome_line
from ktrdr.cli.exit_codes import ExitCode
from ktrdr.cli.follow import start_and_follow
from ktrdr.cli.output import say, table_lines
from ktrdr.cli.run_actions import show_followed, show_started
from ktrdr.cli.session import require_server, run_action
from ktrdr.connect.connection import Connection
from ktrdr.schemas.operations import OperationDocument


def reproduce_strategy(name: str, detach: bool, as_json: bool) -> None:
    """Do a strategy's work again and show which files differ."""

    async def action(connection: Connection) -> int:
        client = connection.client
        if detach:
            require_server(connection)
            return show_started(await client.reproduce(name), as_json)

        async def start() -> str:
            operation = await client.reproduce(name)
            say(f"{operation.type} {operation.operation_id}")
            return operation.operation_id

        async def describe(ended: OperationDocument) -> list[str]:
            return [outcome_line(ended), *_file_lines(ended)]

        followed = await start_and_follow(connection, start)
        code = await show_followed(followed, describe, as_json)
        return ExitCode.FAILED if code == ExitCode.OK and not _is_identical(followed.operation) else code

    run_action(action, will_work=not detach)


def _is_identical(operation: OperationDocument) -> bool:
    return isinstance(operation.result, dict) and operation.result.get("identical") is True


def _file_lines(operation: OperationDocument) -> list[str]:
    result = operation.result
    files = result.get("files") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(files, list):
        return []
    rows = [_cells(each) for each in files if isinstance(each, dict)]
    return [*table_lines(("file", "", "differs at"), rows), *_conclusion(result)]


def _conclusion(result: dict[str, JsonValue]) -> list[str]:
    if result.get("identical") is True:
        return ["Every file is reproduced byte by byte."]
    found = result.get("machine_differs")
    if not isinstance(found, list) or not found:
        return ["It is NOT reproduced: see above."]
    return [
        "It was trained on another machine, so figures may differ in their last digits, and this run cannot tell",
        "whether they are wrong: reproduce it on a machine like that one. What differs:",
        *(f"  {difference}" for difference in found),
    ]


def _cells(compared: dict[str, JsonValue]) -> tuple[str, str, str]:
    places = compared.get("differs_at")
    named = ", ".join(map(str, places)) if isinstance(places, list) else ""
    return str(compared.get("file")), "identical" if compared.get("identical") else "DIFFERS", named
