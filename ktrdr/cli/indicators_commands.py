"""`ktrdr indicators`: what a strategy file may use."""

from typing import Annotated

import typer

from ktrdr.cli.options import Json, command_group

app = command_group("List and show the indicators that a strategy may use.")


@app.command("list")
def list_indicators(as_json: Json = False) -> None:
    """List all indicators with the ranges of their parameters (default in brackets) and what they mean."""
    from ktrdr.cli.indicators_actions import list_all

    list_all(as_json)


@app.command("show")
def show(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="As `ktrdr indicators list` shows it, such as RSI.")],
    as_json: Json = False,
) -> None:
    """Show one indicator: inputs, outputs, unit and parameters, and how a strategy file uses it."""
    from ktrdr.cli.indicators_actions import show_one

    show_one(type_, as_json)
