"""A group whose commands are imported when they are used, so that help does not pay for what it lists."""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command or a group of commands is defined, and its line in the help.

    `command` names one command of the module's `app`; None takes the whole app as a group.
    """

    module: str
    help: str
    command: str | None = None


class LeanGroup(TyperGroup):
    """A group that does not import pydantic to find out that nobody asked for its help."""

    def get_help_option(self, ctx: Any) -> Any:  # noqa: ANN401 - click's classes are typer's secret
        """Return the option `--help`, with a default: typer coerces a missing flag that has none."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


def lazy_group(commands: Mapping[str, LazyCommand], *, everywhere: Sequence[tuple[str, str]]) -> type[TyperGroup]:
    """Return a group class that lists `commands` in their order and imports one of them when it is called.

    Args:
        commands: By name.
        everywhere: Options that may stand before or after any command, for the help: their form and words.
    """

    class LazyGroup(LeanGroup):
        def __init__(self, **options: Any) -> None:  # noqa: ANN401 - typer's own signature
            super().__init__(**options)
            # The names must be there for the list and for "did you mean"; the commands are filled in when used.
            placeholders: MutableMapping[str, Any] = {name: None for name in commands}
            self.commands = placeholders

        def get_params(self, ctx: Any) -> Any:  # noqa: ANN401
            for option in self.params:  # those of completion are added late, and without a default: as with --help
                option.default = False if option.default is None else option.default
            return super().get_params(ctx)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
            if cmd_name in commands and self.commands[cmd_name] is None:
                self.commands[cmd_name] = _load(cmd_name, commands[cmd_name])
            return self.commands.get(cmd_name)

        def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
            with formatter.section("Options of every command"):
                formatter.write_dl([*everywhere])
            with formatter.section("Commands"):
                formatter.write_dl([(name, command.help) for name, command in commands.items()])

    return LazyGroup


def _load(name: str, lazy: LazyCommand) -> Any:  # noqa: ANN401
    app: typer.Typer = import_module(lazy.module).app
    if lazy.command is None:
        command: Any = get_command(app)
        command.name = name
        return command
    return get_group(app).commands[lazy.command]
