"""What `ktrdr agent history` does."""

from ktrdr.cli.exit_codes import ExitCode
from ktrdr.cli.output import MISSING, figure, print_document, print_lines, say, table_lines
from ktrdr.cli.session import run_action
from ktrdr.clock import format_time
from ktrdr.connect.connection import Connection
from ktrdr.schemas.history import EndedCycle

_HEADER = ("ended", "cycle", "outcome", "verdict", "sharpe", "trades", "accuracy", "judgement", "cost", "strategy")
_ID_CHARACTERS, _MINUTES = 6, len("2026-03-01T12:00")


def show_history(limit: int, cursor: str | None, as_json: bool) -> None:
    """Show a page of cycles that have ended."""

    async def action(connection: Connection) -> int:
        page = await connection.client.history(limit=limit, cursor=cursor)
        if as_json:
            print_document(page)
            return ExitCode.OK
        if not page.cycles:
            say("No cycle has ended yet: `ktrdr agent trigger` runs one.")
            return ExitCode.OK
        print_lines(table_lines(_HEADER, [_row(cycle) for cycle in page.cycles]))
        say("`ktrdr operations show CYCLE` says more about one, `ktrdr strategies show NAME` about its strategy.")
        if page.next_cursor is not None:
            say(f"There are more: --cursor {page.next_cursor}")
        return ExitCode.OK

    run_action(action)


def _row(cycle: EndedCycle) -> tuple[str, ...]:
    return (
        MISSING if cycle.completed_at is None else format_time(cycle.completed_at)[:_MINUTES],
        cycle.operation_id[-_ID_CHARACTERS:],
        cycle.reason or cycle.status.value,
        cycle.verdict or MISSING,
        figure(cycle.sharpe_ratio),
        figure(cycle.n_trades, "d"),
        figure(cycle.accuracy, ".3f"),
        cycle.judgement or MISSING,
        f"${figure(cycle.cost_usd, '.4f')}" if cycle.cost_usd else MISSING,
        cycle.strategy_name or MISSING,
    )
