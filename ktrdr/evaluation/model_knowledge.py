"""Until when language models have read: sealed years before that were no secret to whoever designed the strategy."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

SOURCE = "https://platform.claude.com/docs/en/models/overview"
# Last month that the provider states for a model's knowledge, as the first day after it, by how its name begins.
# Read at SOURCE in November 2026. A provider states where knowledge is reliable; some of it may be later.
_KNOWN_UNTIL = {
    "claude-fable-5-1": date(2026, 7, 1),
    "claude-opus-5-5": date(2026, 7, 1),
    "claude-sonnet-5-5": date(2026, 7, 1),
    "claude-haiku-5-5": date(2026, 7, 1),
    "claude-opus-5": date(2026, 6, 1),
    "claude-sonnet-5": date(2026, 2, 1),
    "claude-haiku-4-5": date(2025, 3, 1),
}
OFFLINE = "offline"

Standing = Literal["before_cutoff", "partly_before_cutoff", "after_cutoff", "unknown", "no_llm"]


@dataclass(frozen=True, slots=True)
class KnowledgeOfYears:
    """What a designer may have known of the sealed years; `cutoff` is None where nobody says."""

    standing: Standing
    cutoff: date | None


def knowledge_of(designer: str | None, first: date, last: date) -> KnowledgeOfYears:
    """Return whether a designer's training data may reach into the sealed bars from `first` to `last`.

    Args:
        designer: The model of design.json; None for a strategy that came with no design.
        first: Day of the first sealed bar.
        last: Day of the last one.
    """
    if designer is not None and designer.startswith(OFFLINE):
        return KnowledgeOfYears("no_llm", None)
    cutoff = None if designer is None else _cutoff(designer)
    if cutoff is None:
        return KnowledgeOfYears("unknown", None)
    if first >= cutoff:
        return KnowledgeOfYears("after_cutoff", cutoff)
    return KnowledgeOfYears("before_cutoff" if last < cutoff else "partly_before_cutoff", cutoff)


def _cutoff(designer: str) -> date | None:
    fitting = [name for name in _KNOWN_UNTIL if designer == name or designer.startswith(f"{name}-20")]
    return _KNOWN_UNTIL[fitting[0]] if fitting else None
