"""What `ktrdr vault` does."""

from ktrdr.cli.cycle_report import outcome_line
from ktrdr.cli.exam_report import exam_lines, exam_rows, prospect_lines
from ktrdr.cli.exit_codes import ExitCode
from ktrdr.cli.follow import start_and_follow
from ktrdr.cli.output import print_document, print_lines, say, table_lines
from ktrdr.cli.run_actions import show_followed, show_started
from ktrdr.cli.session import ask, require_server, run_action
from ktrdr.connect.connection import Connection
from ktrdr.errors import InvalidInput
from ktrdr.schemas.operations import OperationDocument


def open_vault(name: str, *, is_confirmed: bool, detach: bool, as_json: bool) -> None:
    """Show the power of the exam, ask for confirmation, hold it and show what it came to.

    Raises:
        InvalidInput: Nobody can be asked, and --yes was not given (`confirmation_needed`).
    """
    if as_json and not is_confirmed:
        raise InvalidInput(
            "--json asks no questions, and a look cannot be taken back: read `ktrdr vault open NAME` once, then add "
            "--yes",
            reason="confirmation_needed",
        )

    async def action(connection: Connection) -> int:
        if detach:
            require_server(connection)
        client = connection.client
        prospect = await client.exam_prospect(name)
        if prospect.exam is not None and not as_json:
            print_lines(["It has had its one exam:", *exam_lines(prospect.exam, after_exam=False)])
            return ExitCode.FAILED
        if not as_json:
            print_lines(prospect_lines(prospect))
        if not is_confirmed and not ask("Look at the sealed bars now?"):
            say("Nothing was looked at.")
            return ExitCode.FAILED
        if detach:
            return show_started(await client.open_vault(name), as_json)

        async def start() -> str:
            operation = await client.open_vault(name)
            say(f"{operation.type} {operation.operation_id}")
            return operation.operation_id

        async def describe(ended: OperationDocument) -> list[str]:
            held = [each for each in (await client.exams()).exams if each.operation_id == ended.operation_id]
            found = exam_lines(held[0], after_exam=False) if held else []
            return [outcome_line(ended), *found]

        return await show_followed(await start_and_follow(connection, start), describe, as_json)

    run_action(action, will_work=not detach)


def list_looks(as_json: bool) -> None:
    """Show all looks."""

    async def action(connection: Connection) -> int:
        found = await connection.client.exams()
        if as_json:
            print_document(found)
            return ExitCode.OK
        if found.exams:
            header = ("look", "strategy", "exam", "probability", "needed", "sharpe", "trades", "sealed bars")
            print_lines(table_lines(header, exam_rows(found.exams)))
        else:
            say("Nobody has looked at sealed bars: `ktrdr strategies leaderboard` shows candidates.")
        say(f"The next look must show {found.next_required_psr:.2%}.")
        for fault in found.faults:
            say(f"THE EXAM LEDGER WAS CHANGED: {fault}")
        return ExitCode.OK

    run_action(action)
