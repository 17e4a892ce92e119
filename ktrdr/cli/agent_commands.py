"""`ktrdr agent`: research cycles."""

from typing import Annotated

import typer

from ktrdr.cli.completion import complete_operation_id, complete_strategy_name
from ktrdr.cli.options import Cursor, Designer, Detach, Json, Limit, Model, Seed, command_group
from ktrdr.cli.schedule_commands import app as schedule_app

app = command_group("Run research cycles: design, train, backtest, assess.")
app.add_typer(schedule_app, name="schedule")


@app.command("trigger")
def trigger(
    brief: Annotated[str | None, typer.Option(metavar="TEXT", help="What to look for, in words.")] = None,
    designer: Designer = None,
    model: Model = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Take a stored strategy instead of designing one.",
            autocompletion=complete_strategy_name,
        ),
    ] = None,
    seed: Seed = None,
    bypass_gates: Annotated[
        bool, typer.Option("--bypass-gates", help="Go on past a gate that refuses; recorded with every result.")
    ] = False,
    until_completed: Annotated[
        int,
        typer.Option(
            min=1, max=1000, metavar="N", help="Up to N cycles in a row, until one passes both gates. Seeds count up."
        ),
    ] = 1,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Start a research cycle and wait for its end.

    Without a server, the cycle runs in this command: Ctrl-C cancels it. With one, Ctrl-C leaves it running there.
    Exit code 5: a gate refused the strategy, as it should with most; 6: the budget of the day or of the cycle is spent.
    --until-completed exits as its last cycle does.
    """
    from ktrdr.cli.agent_actions import TriggerOptions, trigger_cycles
    from ktrdr.schemas.agent import TriggerRequest

    if detach and until_completed > 1:
        raise typer.BadParameter("--detach starts one cycle and cannot wait for others: leave out --until-completed")
    request = TriggerRequest.build(
        brief=brief, designer=designer, model=model, strategy=strategy, seed=seed, bypass_gates=bypass_gates
    )
    trigger_cycles(TriggerOptions(request, until_completed, detach, as_json))


@app.command("status")
def status(as_json: Json = False) -> None:
    """Say whether a cycle is active, and how the last one ended."""
    from ktrdr.cli.agent_actions import show_status

    show_status(as_json)


@app.command("history")
def history(limit: Limit = 20, cursor: Cursor = None, as_json: Json = False) -> None:
    """List the cycles that have ended, newest first: how, with which strategy, its verdict and figures, its cost."""
    from ktrdr.cli.history_actions import show_history

    show_history(limit, cursor, as_json)


@app.command("budget")
def budget(
    days: Annotated[int, typer.Option(min=1, max=366, metavar="N", help="How many days back, today included.")] = 7,
    as_json: Json = False,
) -> None:
    """Say what LLM calls cost, by day, model and operation, and what is left of today (UTC)."""
    from ktrdr.cli.agent_actions import show_budget

    show_budget(days, as_json)


@app.command("cancel")
def cancel(
    operation_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="Which cycle; without it, the one that is active.",
            autocompletion=complete_operation_id,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Cancel a cycle and all it started."""
    from ktrdr.cli.agent_actions import cancel_cycle

    cancel_cycle(operation_id, as_json)
