"""What LLM calls cost, in words and figures for a person."""

from collections.abc import Sequence

from ktrdr.cli.output import table_lines
from ktrdr.schemas.agent import BudgetDocument, BudgetStanding, SpendingDocument

_HEADER = ("dollars", "calls", "tokens in", "cached", "tokens out")


def standing_line(budget: BudgetStanding) -> str:
    """Return one line that says where today's budget stands."""
    return (
        f"budget of {budget.day} (UTC): ${budget.spent_usd:.4f} spent, ${budget.reserved_usd:.4f} reserved, "
        f"${budget.remaining_usd:.4f} of ${budget.daily_limit_usd:.2f} left; "
        f"a cycle may cost ${budget.cycle_limit_usd:.2f}"
    )


def budget_lines(budget: BudgetDocument, days: int) -> list[str]:
    """Return the whole report."""
    lines = [standing_line(budget)]
    if budget.open_cycles:
        lines.append(f"reserved for: {', '.join(budget.open_cycles)}")
    if not budget.days:
        return [*lines, f"no LLM was called in the last {days} day(s)"]
    for title, spending in (("day", budget.days), ("model", budget.models), ("operation", budget.operations)):
        lines += ["", *_table(title, spending)]
    return lines


def _table(title: str, spending: Sequence[SpendingDocument]) -> list[str]:
    rows = [
        (
            each.key,
            f"{each.charged_usd:.4f}",
            str(each.calls),
            str(each.usage.input_tokens),
            str(each.usage.cache_read_tokens),
            str(each.usage.output_tokens),
        )
        for each in spending
    ]
    header = (title, *_HEADER)
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return table_lines(
        header,
        [(row[0], *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))) for row in rows],
    )
