"""`ktrdr operations`: durable work of every type."""

from typing import Annotated, Literal

import typer

from ktrdr.cli.completion import complete_operation_id
from ktrdr.cli.options import Detach, Json, OperationId, command_group

app = command_group(
    "List, show, watch, cancel, resume and retry operations: cycles, their phases, trainings, backtests. Wherever an "
    "ID is taken, its last six characters will do, or as much of its beginning as only one operation has."
)

Status = Literal["pending", "running", "completed", "failed", "cancelled"]


@app.command("list")
def list_operations(
    type_: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Such as agent_research, training, backtesting.")
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only those that stand so.")] = None,
    parent: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only those that this one started.", autocompletion=complete_operation_id),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Created from then on: 2026-03-01T08:00 (UTC), or 12h, 30d ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Created before, in the same words.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page before this one ended.")] = None,
    as_json: Json = False,
) -> None:
    """List operations, newest first."""
    from ktrdr.cli.moments import moment
    from ktrdr.cli.operations_actions import ListOptions, list_page

    options = ListOptions(type_, status, parent, moment("--since", since), moment("--until", until), limit, cursor)
    list_page(options, as_json)


@app.command("show")
def show(operation_id: OperationId, as_json: Json = False) -> None:
    """Show one operation and what it started."""
    from ktrdr.cli.operations_actions import show_operation

    show_operation(operation_id, as_json)


@app.command("cancel")
def cancel(operation_id: OperationId, as_json: Json = False) -> None:
    """Cancel an operation and all it started. Twice is fine."""
    from ktrdr.cli.operations_actions import cancel_operation

    cancel_operation(operation_id, as_json)


@app.command("resume")
def resume(operation_id: OperationId, detach: Detach = False, as_json: Json = False) -> None:
    """Go on with a cancelled or interrupted cycle, training or backtest, and wait for its end.

    Finished phases are not run again, and a training goes on from its last checkpoint.
    A changed strategy file, changed bars or another version of ktrdr are refused.
    """
    from ktrdr.cli.revival_actions import resume_operation

    resume_operation(operation_id, detach, as_json)


@app.command("retry")
def retry(operation_id: OperationId, detach: Detach = False, as_json: Json = False) -> None:
    """Try a failed cycle, training or backtest again from the phase that failed, and wait for its end.

    What a gate refused is not tried again: the same strategy on the same bars gives the same figures.
    """
    from ktrdr.cli.revival_actions import retry_operation

    retry_operation(operation_id, detach, as_json)


@app.command("watch")
def watch(operation_id: OperationId, as_json: Json = False) -> None:
    """Show an operation's progress until it ends; exit as it does.

    With --json, one document a line, at every change. Ctrl-C stops watching and cancels nothing.
    Without a server and with no worker alive, this command runs a worker as long as it watches.
    """
    from ktrdr.cli.operations_actions import watch_operation

    watch_operation(operation_id, as_json)


@app.command("logs")
def logs(
    operation_id: OperationId,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many lines at most.")] = 200,
    cursor: Annotated[str | None, typer.Option(help="Where the page before this one ended.")] = None,
    as_json: Json = False,
) -> None:
    """Show what workers logged about an operation and all it started, oldest first.

    Logs are `.ktrdr/logs/` of the server's workspace; the oldest lines of a long log are dropped.
    """
    from ktrdr.cli.operations_actions import show_log

    show_log(operation_id, limit, cursor, as_json)


@app.command("prune")
def prune(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="How long ago they must have ended: 12h, 30d.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be forgotten.")] = False,
    as_json: Json = False,
) -> None:
    """Forget operations that ended long ago, with their steps, results and attempts.

    Strategies, the trial ledger and the budget's ledger stay as they are. An operation goes together with all it
    started, and only if none of them works; the newest of each type stays. The designer remembers tried strategies
    by their operations: what is pruned, it may try again.
    """
    from ktrdr.cli.operations_actions import prune_operations

    prune_operations(older_than, dry_run, as_json)
