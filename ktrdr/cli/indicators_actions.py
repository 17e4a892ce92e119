"""What `ktrdr indicators` does."""

from difflib import get_close_matches

from ktrdr.cli.exit_codes import ExitCode
from ktrdr.cli.output import MISSING, print_document, print_lines, table_lines
from ktrdr.cli.session import run_action
from ktrdr.connect.connection import Connection
from ktrdr.errors import NotFound
from ktrdr.schemas.indicators import IndicatorDocument


def list_all(as_json: bool) -> None:
    """Show all indicators."""

    async def action(connection: Connection) -> int:
        found = await connection.client.indicators()
        if as_json:
            print_document(found)
        else:
            rows = [(each.type, each.unit, _parameters(each), each.meaning) for each in found.indicators]
            print_lines(table_lines(("type", "unit", "parameters", "meaning"), rows))
        return ExitCode.OK

    run_action(action)


def show_one(type_name: str, as_json: bool) -> None:
    """Show one indicator."""

    async def action(connection: Connection) -> int:
        known = {each.type: each for each in (await connection.client.indicators()).indicators}
        kind = known.get(type_name.upper())
        if kind is None:
            near = get_close_matches(type_name.upper(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else "`ktrdr indicators list` shows all"
            raise NotFound(f"no indicator {type_name!r}; {hint}", reason="unknown_indicator")
        if as_json:
            print_document(kind)
        else:
            print_lines(_lines(kind))
        return ExitCode.OK

    run_action(action)


def _lines(kind: IndicatorDocument) -> list[str]:
    defaults = "".join(f", {each.name}: {each.default:g}" for each in kind.parameters)
    reference = "mine" if len(kind.outputs) == 1 else f"mine.{kind.outputs[0]}"
    relative = ", relative_to: close" if kind.needs_relative_to else ""
    return [
        f"{kind.type}: {kind.meaning}",
        f"  from {', '.join(kind.inputs)}; outputs {', '.join(kind.outputs)}; unit {kind.unit}",
        *(
            f"  {each.name}: {each.minimum:g} to {each.maximum:g}, {each.default:g} if left out"
            for each in kind.parameters
        ),
        "  in a strategy file:",
        f"    indicators: {{mine: {{type: {kind.type}{defaults}}}}}",
        f"    fuzzy_sets: {{level: {{input: {reference}{relative}, partition: [low, middle, high]}}}}",
    ]


def _parameters(kind: IndicatorDocument) -> str:
    ranges = [f"{each.name} {each.minimum:g}..{each.maximum:g} [{each.default:g}]" for each in kind.parameters]
    return ", ".join(ranges) or MISSING
