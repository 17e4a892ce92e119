"""`ktrdr operations`: durable work of every type."""

from typing import Annotated, Literal

import typer

from ktrdr.cli.options import Detach, Json, OperationId, command_group

app = command_group(
    "List, show, watch, cancel, resume and retry operations: cycles, their phases, trainings, backtests."
)

Status = Literal["pending", "running", "completed", "failed", "cancelled"]


@app.command("list")
def list_operations(
    type_: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Such as agent_research, training, backtesting.")
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only those that stand so.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="ID", help="Only those that this one started.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page before this one ended.")] = None,
    as_json: Json = False,
) -> None:
    """List operations, newest first."""
    from ktrdr.cli.operations_actions import ListOptions, list_page

    list_page(ListOptions(type_, status, parent, limit, cursor), as_json)


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
