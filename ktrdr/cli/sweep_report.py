"""What a sweep came to, for a person: the best of many beside what luck would show."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from ktrdr.backtest.report import SWEEP_METRICS
from ktrdr.cli.output import MISSING, figure, table_lines
from ktrdr.schemas.operations import OperationDocument

_COLUMNS = (
    ("sharpe_ratio", "Sharpe", ".2f"),
    ("total_return", "return", ".1%"),
    ("max_drawdown", "drawdown", ".1%"),
    ("n_trades", "trades", ".0f"),
    ("profit_factor", "PF", ".2f"),
    ("psr", "probability", ".1%"),
)
_NOT_PARAMETERS = {"number", *SWEEP_METRICS, "psr", "verdict", "verdict_reason"}


@dataclass(frozen=True, slots=True)
class Swept:
    """The result of a sweep's operation, read."""

    strategy: str
    path: str
    summary: Mapping[str, JsonValue]


def sweep_of(operation: OperationDocument) -> Swept | None:
    """Return what a completed sweep says, None of any other operation."""
    result = operation.result
    summary = result.get("sweep") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(summary, dict):
        return None
    return Swept(str(result.get("strategy_name")), str(result.get("sweep_path")), summary)


def sweep_lines(swept: Swept) -> list[str]:
    """Return the best variants, the stored file and the median, and what they are worth."""
    summary = swept.summary
    best, stored, median = summary.get("best"), summary.get("stored"), summary.get("median")
    n_variants = figure(summary.get("n_variants"), ",")
    rows = [each for each in best if isinstance(each, dict)] if isinstance(best, list) else []
    stored = stored if isinstance(stored, dict) else {}
    paths = [name for name in stored if name not in _NOT_PARAMETERS]
    named = [(f"#{each.get('number')}", each) for each in rows] + [("stored", stored)]
    table = [
        (name, *(_word(each.get(path)) for path in paths), *_figures(each), str(each.get("verdict")))
        for name, each in named
    ]
    if isinstance(median, dict):
        table.append(("median", *[""] * len(paths), *_figures(median), ""))
    header = ("variant", *(path.rpartition(".")[2] for path in paths), *(title for _, title, _ in _COLUMNS), "verdict")
    return [
        "",
        f"Sweep of {swept.strategy}: {n_variants} variants, out of sample and net of costs. All: {swept.path}",
        "",
        *(f"  {line}" for line in table_lines(header, table)),
        "",
        *_luck_lines(summary, rows),
        "",
        f"{swept.strategy}'s own backtest is as it was. To go on with a variant, save it as a strategy of its own "
        "name, train and backtest it: only so can it sit an exam. The trials counted here still count then.",
    ]


def _luck_lines(summary: Mapping[str, JsonValue], rows: list[dict[str, JsonValue]]) -> list[str]:
    top = rows[0].get("sharpe_ratio") if rows else None
    lines = [
        f"The best of {figure(summary.get('n_variants'), ',')} variants has a Sharpe ratio of {figure(top)}; luck "
        f"alone would show about {figure(summary.get('expected_best_sharpe'))}. Trials counted in this workspace are "
        f"now {figure(summary.get('n_trials'), ',')}; `probability` is that of being better than the luckiest of so "
        "many, 95% are needed."
    ]
    verdicts = summary.get("verdicts")
    if isinstance(verdicts, dict):
        lines.append("Verdicts: " + ", ".join(f"{figure(n, ',')} {word}" for word, n in sorted(verdicts.items())) + ".")
    selection = summary.get("selection")
    if isinstance(selection, dict):
        lines.append(
            f"Of {figure(selection.get('n_trials'), ',')} trials on these bars the best of one half of the time is "
            f"below the middle in the rest with probability {figure(selection.get('pbo'), '.0%')} (luck: 50%); if none "
            f"earned anything, the best would look as good with p = {figure(selection.get('spa_p_value'), '.3f')}."
        )
    return lines


def _figures(row: Mapping[str, JsonValue]) -> list[str]:
    return [figure(row.get(name), style) for name, _, style in _COLUMNS]


def _word(value: JsonValue) -> str:
    return MISSING if value is None else str(value)
