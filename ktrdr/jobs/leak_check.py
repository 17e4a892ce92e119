"""Keeps a strategy that would know the future from being stored, trained or taken into a cycle."""

from ktrdr.market.store import BarStore
from ktrdr.strategy.specification import StrategySpecification


def refuse_leaking_strategy(specification: StrategySpecification, bars: BarStore) -> None:
    """Return if nothing of a strategy knows the future on the research bars of its symbols.

    A strategy is asked when it is stored, and again before it is trained: a market may not have been imported then,
    and a file may have been put into the folder by hand.

    Raises:
        InvalidInput: Something does (`leak_found`).
        NotFound: One of its markets is not stored.
    """
    from ktrdr.evaluation.firewall import recipe_of, refuse_leaks

    research = [bars.load_research(symbol, specification.timeframe) for symbol in specification.symbols]
    refuse_leaks(specification.name, recipe_of(specification), research)
