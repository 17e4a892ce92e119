"""What `ktrdr strategies leaderboard` does."""

from ktrdr.cli.exit_codes import ExitCode
from ktrdr.cli.output import figure, print_document, print_lines, say, table_lines
from ktrdr.cli.session import run_action
from ktrdr.connect.connection import Connection
from ktrdr.schemas.vault import LeaderboardRow

_HEADER = ("", "strategy", "market", "low", "sharpe", "net", "trades", "trials", "verdict", "exam")


def show_leaderboard(limit: int, cursor: str | None, as_json: bool) -> None:
    """Show a page of the ranking."""

    async def action(connection: Connection) -> int:
        found = await connection.client.leaderboard(limit=limit, cursor=cursor)
        if as_json:
            print_document(found)
            return ExitCode.OK
        if not found.rows:
            say("Nothing is backtested yet: `ktrdr agent trigger`, or `ktrdr train` and `ktrdr backtest`.")
        else:
            print_lines(table_lines(_HEADER, [_cells(row) for row in found.rows]))
            say(
                "low: lower end of the 95 % interval of sharpe, which is what is left once the market is taken out; "
                f"trials: counted at the verdict, {found.n_trials} by now; {found.n_looks} look(s) at sealed bars"
            )
        for name in found.unreadable:
            say(f"{name} cannot be ranked: a file was changed, or is of another version. Train and backtest it again.")
        for fault in found.ledger_faults:
            say(f"THE TRIAL LEDGER WAS CHANGED: {fault}")
        if found.next_cursor is not None:
            say(f"more: ktrdr strategies leaderboard --limit {limit} --cursor {found.next_cursor}")
        return ExitCode.OK

    run_action(action)


def _cells(row: LeaderboardRow) -> tuple[str, ...]:
    exam = "-" if row.exam is None else row.exam.status.replace("_", " ")
    return (
        str(row.rank),
        row.name,
        f"{','.join(row.symbols)} {row.timeframe}",
        figure(row.sharpe_low),
        figure(row.sharpe_ratio),
        figure(row.net_sharpe_ratio),
        str(row.n_trades),
        str(row.n_trials),
        row.verdict + (" (after an exam)" if row.after_exam else ""),
        exam,
    )
