"""What the shell offers when the user presses Tab. Quick, silent, and never wrong enough to matter."""

from collections.abc import Callable

N_OFFERED = 50


def complete_operation_id(incomplete: str) -> list[str]:
    """Offer the newest operations."""
    return [each for each in _quietly(_newest_ids) if each.startswith(incomplete)]


def complete_strategy_name(incomplete: str) -> list[str]:
    """Offer stored strategies."""
    return [each for each in _quietly(_strategy_names) if each.startswith(incomplete)]


def _quietly(ask: Callable[[], list[str]]) -> list[str]:
    from ktrdr.cli.completion_sources import Unanswered

    try:
        return ask()
    except Unanswered:
        return []  # words on the terminal would stand in the middle of what is being typed


def _newest_ids() -> list[str]:
    from ktrdr.cli.completion_sources import newest_operation_ids

    return newest_operation_ids(N_OFFERED)


def _strategy_names() -> list[str]:
    from ktrdr.cli.completion_sources import strategy_names

    return strategy_names()
