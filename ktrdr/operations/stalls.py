"""Operations that nobody works on any more, or that show no progress."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ktrdr.operations.tallies import ActiveOperation

# Longer than any part of an operation that says nothing of itself: an epoch, a call, a pause before another attempt.
STALL_S = 900.0


@dataclass(frozen=True, slots=True)
class _Sight:
    """What an operation said of itself, and since when it has said nothing else."""

    words: str
    since_s: float


class StallWatch:
    """Remembers since when each operation has shown nothing new. Call it with every reading. Not thread-safe."""

    def __init__(self) -> None:
        self._seen: dict[str, _Sight] = {}

    def stalled(
        self, active: Sequence[ActiveOperation], live_executors: Collection[str], now_s: float
    ) -> list[ActiveOperation]:
        """Return those that no living worker runs, that no worker of this version takes up, or that stand still.

        Args:
            active: All that wait or run.
            live_executors: Executor ids of the workers that live.
            now_s: Seconds of a clock that never goes back.
        """
        words = _words(active)
        self._seen = {
            each: before if (before := self._seen.get(each)) and before.words == said else _Sight(said, now_s)
            for each, said in words.items()
        }
        # Whoever waits for one that waits does not stand still: the queue is long.
        patient = {each.parent_id for each in active if each.executor_id is None}
        return [
            each
            for each in active
            if _is_abandoned(each, live_executors)
            or (each.executor_id and each.operation_id not in patient and self._is_still(each.operation_id, now_s))
        ]

    def _is_still(self, operation_id: str, now_s: float) -> bool:
        return now_s - self._seen[operation_id].since_s > STALL_S


def _is_abandoned(operation: ActiveOperation, live_executors: Collection[str]) -> bool:
    if operation.executor_id is None:  # it waits, which is the queue's to tell
        return not operation.is_of_this_version
    return operation.executor_id not in live_executors


def _words(active: Sequence[ActiveOperation]) -> dict[str, str]:
    """Return what each says of itself and through those that it started."""
    words = {each.operation_id: json.dumps([each.executor_id, each.attributes], sort_keys=True) for each in active}
    for each in active:
        if each.parent_id in words:
            words[each.parent_id] += words[each.operation_id]
    return words
