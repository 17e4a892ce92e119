"""`ktrdr strategies`: what is stored, how it ranks, whether it can be reproduced and whether a file may be stored."""

from typing import Annotated

import typer

from ktrdr.cli.options import Cursor, Detach, Json, Limit, StrategyFile, StrategyName, command_group

app = command_group("List, rank, show, validate and reproduce strategies.")


@app.command("list")
def list_strategies(limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List stored strategies with their verdicts and figures, newest first."""
    from ktrdr.cli.strategies_actions import list_stored

    list_stored(limit, cursor, as_json)


@app.command("show")
def show(
    name: StrategyName,
    open_report: Annotated[
        bool, typer.Option("--open", help="Make report.html and open it in a browser; with --json, only say where.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a strategy's file, its network's rules and what was found about it, here or as a page with charts."""
    from ktrdr.cli.strategies_actions import open_report_page, show_strategy

    if open_report:
        open_report_page(name, as_json)
    else:
        show_strategy(name, as_json)


@app.command("validate")
def validate(file: StrategyFile, as_json: Json = False) -> None:
    """Check a strategy file and print every fault at once; nothing is stored. Exit code 2 if it has faults."""
    from ktrdr.cli.strategies_actions import validate_file

    validate_file(file, as_json)


@app.command("leaderboard")
def leaderboard(
    limit: Annotated[int, typer.Option(min=1, max=200, metavar="N", help="At most so many.")] = 20,
    cursor: Annotated[str | None, typer.Option(metavar="NAME", help="Go on after this strategy.")] = None,
    as_json: Json = False,
) -> None:
    """Rank what was backtested: by the lower end of the Sharpe interval of the return less its market part."""
    from ktrdr.cli.leaderboard_actions import show_leaderboard

    show_leaderboard(limit, cursor, as_json)


@app.command("reproduce")
def reproduce(name: StrategyName, detach: Detach = False, as_json: Json = False) -> None:
    """Train and backtest a strategy again elsewhere and compare every file byte by byte. Exit code 1 if one differs.

    Seed and snapshot are the recorded ones, and so is what the verdict knew of other trials. It is no trial.
    """
    from ktrdr.cli.reproduce_actions import reproduce_strategy

    reproduce_strategy(name, detach, as_json)
