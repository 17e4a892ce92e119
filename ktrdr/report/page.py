"""The page itself: contents into HTML."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import JsonValue

from ktrdr.evaluation.verdict_words import REASON_WORDS, years_words
from ktrdr.market.store import BarStore
from ktrdr.report.charts import drawdown_chart, equity_chart, fuzzy_chart, trades_chart
from ktrdr.report.contents import ReportContents, gather_contents
from ktrdr.strategy.store import StrategyStore
from ktrdr.training import rule_words

MISSING = "\N{EN DASH}"
_N_LISTED_TRADES = 10
_METRICS = (
    ("sharpe_ratio", "Sharpe ratio", ".2f"),
    ("sortino_ratio", "Sortino ratio", ".2f"),
    ("calmar_ratio", "Calmar ratio", ".2f"),
    ("total_return", "Total return", ".2%"),
    ("cagr", "Return a year", ".2%"),
    ("max_drawdown", "Max drawdown", ".2%"),
    ("n_trades", "Trades", "d"),
    ("win_rate", "Trades won", ".1%"),
    ("profit_factor", "Profit factor", ".2f"),
    ("exposure", "Exposure", ".1%"),
    ("turnover", "Turnover a year", ".1f"),
    ("costs_paid", "Costs paid, of initial equity", ".2%"),
    ("days_per_year", "Session days a year", ".1f"),
)
_VALUE_WORDS = {
    "proven": "It passed its one exam on bars that no search had seen.",
    "candidate": "It may be more than luck, and may sit the one exam on sealed bars. It is not proven: the search has "
    "seen these bars.",
    "inconclusive": "Nothing can be said: such a result may be luck, and may not be.",
    "disproven": "It loses money, and bad luck does not explain it.",
}


def render_page(contents: ReportContents) -> str:
    """Return the page: HTML that needs no other file, no network and no script. Equal contents give equal pages."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names, hypotheses and assessments were written by a language model
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    environment.filters["years"] = years_words
    curve = contents.curve
    fuzzy = contents.fuzzy_sets.items()
    return environment.get_template("page.html").render(
        contents=contents,
        name=contents.specification.name,
        style=Markup((Path(__file__).parent / "page.css").read_text(encoding="utf-8")),  # ours
        metrics=_METRICS,
        reason_words=REASON_WORDS,
        value_words=_VALUE_WORDS,
        equity=None if curve is None else equity_chart(curve),
        drawdown=None if curve is None else drawdown_chart(curve),
        blocks=[trades_chart(block) for block in contents.blocks],
        fuzzy=[(each, fuzzy_chart(f"fuzzy-{i}", each, sets)) for i, (each, sets) in enumerate(fuzzy)],
        extremes=None if contents.trades is None else _extreme_trades(contents.trades),
        rules=None if contents.training is None else contents.training.rules,
        words=rule_words,
        gates=_gates(contents),
        usage=_usage(contents),
    )


def report_page(strategies: StrategyStore, bars: BarStore, name: str) -> str:
    """Return the page of a stored strategy; raises as `gather_contents`."""
    return render_page(gather_contents(strategies, bars, name))


def figure(value: object, style: str = ".2f") -> Markup:
    """Return a number as people read it, the exact one with it for programs; a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Markup(MISSING)
    shown = f"{value:{style}}"
    return Markup('<data value="{}">{}</data>').format(repr(value), shown.replace("-", "\N{MINUS SIGN}"))


def _gates(contents: ReportContents) -> JsonValue:
    """Return the gates' results, as the cycle left them or, of one of an earlier version, its assessment."""
    return (contents.cycle or contents.assessment or {}).get("gates")


def _usage(contents: ReportContents) -> list[tuple[str, Mapping[str, JsonValue]]]:
    """Return what each agent that worked on it has used, as far as that is recorded."""
    agents = (("Design", contents.design), ("Assessment", contents.assessment))
    return [(name, record) for name, record in agents if record is not None and record.get("cost_usd") is not None]


def _extreme_trades(trades: pl.DataFrame) -> list[Mapping[str, JsonValue]]:
    """Return the trades with the largest profits and losses, in time order."""
    ranked = trades.with_row_index().sort(pl.col("net").abs(), descending=True).head(_N_LISTED_TRADES).sort("index")
    return list(islice(ranked.iter_rows(named=True), _N_LISTED_TRADES))
