"""`ktrdr vault`: the one exam of a candidate on bars that nobody has seen."""

from typing import Annotated

import typer

from ktrdr.cli.options import Detach, Json, StrategyName, command_group

app = command_group("The one exam of a candidate on sealed bars.")


@app.command("open")
def open_exam(
    name: StrategyName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: the power before the look is still shown.")] = False,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Show what the exam can say, ask, and hold it. There is one for each strategy and model, by whatever name.

    --json needs --yes and prints the operation, which never says how it went: `ktrdr vault list --json` does.
    """
    from ktrdr.cli.vault_actions import open_vault

    open_vault(name, is_confirmed=yes, detach=detach, as_json=as_json)


@app.command("list")
def list_exams(as_json: Json = False) -> None:
    """List every look at sealed bars that this workspace has taken, and what it came to."""
    from ktrdr.cli.vault_actions import list_looks

    list_looks(as_json)
