"""What tests of a strategy's figures allow to be said, in plain words."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from ktrdr.cli.output import MISSING, figure
from ktrdr.evaluation.verdict_words import REASON_WORDS, years_words


def null_line(training: Mapping[str, JsonValue]) -> str:
    """Return what the recipe's accuracy must beat to be skill."""
    majority = figure(value_at(training, "nulls", "majority_class", "accuracy"), ".3f")
    shifted = figure(value_at(training, "nulls", "circular_shifts", "accuracy_p95"), ".3f")
    mean = figure(value_at(training, "nulls", "circular_shifts", "accuracy_mean"), ".3f")
    return (
        f"Without anything to learn: always naming the commoner class has {majority}; the same recipe on labels "
        f"shifted in time has {mean} on average and {shifted} at its 95th percentile."
    )


def baseline_lines(backtest: Mapping[str, JsonValue]) -> list[str]:
    """Return buy-and-hold and random entries beside the strategy; empty where the report has none."""
    held = value_at(backtest, "baselines", "buy_and_hold")
    if not isinstance(held, dict):
        return []
    lines = [
        f"Buy-and-hold of the same bars: Sharpe ratio {figure(held.get('sharpe_ratio'))}, total return "
        f"{figure(held.get('total_return'), '.2%')}, max drawdown {figure(held.get('max_drawdown'), '.2%')}."
    ]
    drawn = value_at(backtest, "baselines", "random_entry")
    if isinstance(drawn, dict):
        lines.append(
            f"Its own signals at random times ({figure(drawn.get('n'), 'd')} draws): Sharpe ratio "
            f"{figure(drawn.get('sharpe_mean'))} on average; {figure(drawn.get('p_value'), '.1%')} of them do as well "
            "without any timing."
        )
    return lines


def verdict_lines(backtest: Mapping[str, JsonValue]) -> Iterator[str]:
    """Yield the verdict and what it rests on, or that there is none."""
    verdict = backtest.get("verdict")
    if not isinstance(verdict, dict):
        yield "There is no verdict: backtest it again to get one."
        return
    reason = str(verdict.get("reason"))
    yield f"Verdict: {str(verdict.get('value')).upper()}: {REASON_WORDS.get(reason, reason)}."
    yield (
        f"  net Sharpe ratio {_ratio_words(verdict, 'net')}; less its share of buy-and-hold "
        f"{_ratio_words(verdict, 'market_adjusted')}"
    )
    psr, n_trials = verdict.get("psr"), verdict.get("n_trials")
    if psr is not None:
        luck = f"the luckiest of so many without skill would show about {figure(verdict.get('expected_best_sharpe'))}"
        yield (
            f"  trials counted: {figure(n_trials, 'd')}; {luck if n_trials != 1 else 'nothing was selected yet'}; "
            f"probability of being better {figure(psr, '.1%')}, 95% are needed"
        )
    selection = verdict.get("selection")
    if isinstance(selection, dict):
        yield (
            f"  of {figure(selection.get('n_trials'), 'd')} trials on these bars the best of one half of the time is "
            f"below the middle in the rest with probability {figure(selection.get('pbo'), '.0%')} (luck: 50%); if none "
            f"earned anything, the best would look as good with p = {figure(selection.get('spa_p_value'), '.3f')}"
        )
    years = verdict.get("years_needed")
    if isinstance(years, float | int) and verdict.get("value") == "inconclusive":
        yield f"  an even chance to show it takes about {years_words(years)} more years of such results"
    if verdict.get("value") == "candidate":
        yield "  a candidate is not proven: the search has seen these bars, the sealed ones nobody has"


def value_at(document: JsonValue | Mapping[str, JsonValue], *path: str) -> JsonValue:
    """Return what lies at a path of a document, None where a step is missing."""
    value: object = document
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value  # type: ignore[return-value]  # what a JSON document holds is JSON


def _ratio_words(verdict: Mapping[str, JsonValue], test: str) -> str:
    interval = value_at(verdict, test, "sharpe_ci95")
    ratio = figure(value_at(verdict, test, "sharpe_ratio"))
    if not isinstance(interval, list) or len(interval) != 2:
        return ratio if ratio != MISSING else "none"
    return f"{ratio} (95% interval {figure(interval[0])} to {figure(interval[1])})"
