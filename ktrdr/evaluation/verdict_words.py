"""What a verdict and its reason mean, in plain words."""

from collections.abc import Mapping

REASON_WORDS: Mapping[str, str] = {
    "above_luck": "better than the luckiest of so many tries without skill, net and after taking the market out",
    "interval_below_zero": "a loss that bad luck does not explain, net or after taking the market out",
    "not_above_luck": "positive, but no better than the luckiest of so many tries could be without skill",
    "no_positive_edge": "nothing positive left, net or after taking the market out",
    "too_few_trades": "too few trades to say anything",
    "no_trades": "it never traded",
}


def years_words(years: float) -> str:
    """Return a number of years as it is read: nobody waits for the tenth of a century."""
    return f"{years:.1f}" if years < 100 else f"{years:,.0f}"
