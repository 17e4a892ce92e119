"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ktrdr.cli.completion import complete_operation_id, complete_strategy_name
from ktrdr.cli.lazy_group import LeanGroup

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout: the API's own.")]
Detach = Annotated[bool, typer.Option("--detach", help="Return at once; needs a server (`ktrdr serve`).")]
Designer = Annotated[
    Literal["claude", "offline"] | None,
    typer.Option(help="Who designs: offline asks no LLM, whatever is set.  [default: claude with a key, else offline]"),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Which LLM: opus, sonnet, haiku, claude-..., openai:NAME; or offline.  [sonnet with a key]"
    ),
]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]
Cursor = Annotated[str | None, typer.Option(metavar="TEXT", help="Where the page before this one ended.")]
Seed = Annotated[
    int | None, typer.Option(min=0, max=2**32 - 1, metavar="N", help="The same seed and bars give the same results.")
]
OperationId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="As `ktrdr operations list` shows it; its last six characters will do.",
        autocompletion=complete_operation_id,
    ),
]
StrategyName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="As `ktrdr strategies list` shows it.", autocompletion=complete_strategy_name),
]
StrategyFile = Annotated[Path, typer.Argument(metavar="FILE", help="A strategy file, YAML or JSON.")]


def command_group(help_text: str) -> typer.Typer:
    """Return an empty group of commands that behaves as all groups of ktrdr do."""
    return typer.Typer(
        cls=LeanGroup,
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
