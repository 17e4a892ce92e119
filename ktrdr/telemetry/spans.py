"""Spans as values, with ids that follow from what they are about.

Whoever exports an operation's spans, and however often, gives them the same ids: a trace needs no context that travels
between processes, and survives every one of them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

Attribute = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took from `start_ms` to `end_ms` (epoch milliseconds, UTC).

    Attributes:
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_id: The span that it is a part of; None for the root of a trace.
        name: What was done.
        start_ms: When it began.
        end_ms: When it ended; not before `start_ms`.
        attributes: What else is known of it.
        failure: Why it did not end well; None where it did.
        is_remote_call: Whether somebody else's server did the work.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start_ms: int
    end_ms: int
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    failure: str | None = None
    is_remote_call: bool = False


def trace_id_of(root_id: str) -> str:
    """Return the trace of an operation that nothing else started, and of everything that it starts."""
    return hashlib.sha256(f"trace {root_id}".encode()).hexdigest()[:32]


def span_id_of(*what: str | int) -> str:
    """Return the id of the span about something: an operation's id and, below that, which part of it."""
    return hashlib.sha256(" ".join(map(str, ("span", *what))).encode()).hexdigest()[:16]
