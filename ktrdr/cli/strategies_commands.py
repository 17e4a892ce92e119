"""`ktrdr strategies`: what is stored, and whether a file may be."""

from ktrdr.cli.options import Json, StrategyFile, StrategyName, command_group

app = command_group("List, show and validate strategies.")


@app.command("list")
def list_strategies(as_json: Json = False) -> None:
    """List stored strategies with their figures, oldest first."""
    from ktrdr.cli.strategies_actions import list_stored

    list_stored(as_json)


@app.command("show")
def show(name: StrategyName, as_json: Json = False) -> None:
    """Show a strategy's file, the rules that its network has learned, and what was found about it."""
    from ktrdr.cli.strategies_actions import show_strategy

    show_strategy(name, as_json)


@app.command("validate")
def validate(file: StrategyFile, as_json: Json = False) -> None:
    """Check a strategy file and print every fault at once; nothing is stored. Exit code 2 if it has faults."""
    from ktrdr.cli.strategies_actions import validate_file

    validate_file(file, as_json)
