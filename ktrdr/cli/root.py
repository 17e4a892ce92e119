"""The command `ktrdr`: its groups, and what holds for all of them."""

from typing import Annotated

import typer

from ktrdr import __version__
from ktrdr.cli.lazy_group import LazyCommand, lazy_group

_RUN, _SERVE = "ktrdr.cli.run_commands", "ktrdr.cli.serve_commands"
COMMANDS = {
    "agent": LazyCommand("ktrdr.cli.agent_commands", "Run research cycles: start, look, cancel."),
    "operations": LazyCommand("ktrdr.cli.operations_commands", "List, show, watch and cancel durable work."),
    "strategies": LazyCommand("ktrdr.cli.strategies_commands", "List, rank, show, validate and reproduce strategies."),
    "indicators": LazyCommand("ktrdr.cli.indicators_commands", "List and show what a strategy may use."),
    "data": LazyCommand("ktrdr.cli.data_commands", "Install samples, import or fetch bars, check what is stored."),
    "train": LazyCommand(_RUN, "Train a strategy file or a stored strategy.", command="train"),
    "backtest": LazyCommand(_RUN, "Backtest a trained strategy out of sample.", command="backtest"),
    "vault": LazyCommand("ktrdr.cli.vault_commands", "The one exam of a candidate on sealed bars."),
    "serve": LazyCommand(_SERVE, "Serve the HTTP API, with workers, until stopped.", command="serve"),
    "doctor": LazyCommand("ktrdr.cli.doctor_commands", "Find out what is wrong, and how to mend it.", command="doctor"),
    "worker": LazyCommand(_SERVE, "Run one worker until stopped.", command="worker"),
    "mcp": LazyCommand("ktrdr.cli.mcp_commands", "Serve MCP clients such as Claude Desktop.", command="mcp"),
}
_WORKSPACE = (
    "--workspace DIR",
    "Folder with strategies/, data/ and .ktrdr/.  [default: KTRDR_WORKSPACE, else the current folder]",
)
_EPILOG = (
    "Exit codes: 0 ok, 1 failed, 2 usage or bad input, 3 API unreachable, 4 not found, 5 gate refused, "
    "6 budget exhausted, 130 interrupted."
)

app = typer.Typer(
    cls=lazy_group(COMMANDS, everywhere=(_WORKSPACE,)),
    name="ktrdr",
    help="A laboratory for trading strategies. `ktrdr data samples`, then `ktrdr agent trigger`, runs a first cycle.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ktrdr {__version__}")
        raise typer.Exit


@app.callback()
def begin(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Hold the options of `ktrdr` itself."""
