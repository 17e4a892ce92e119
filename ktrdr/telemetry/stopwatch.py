"""How long the parts of a job take, and what it got through."""

import time

from pydantic import JsonValue

from ktrdr.clock import Clock, epoch_ms


class Stopwatch:
    """Times the parts of a job that follow each other. Runs from its construction; not for several threads.

    Times of day come from `clock` once; from there on it counts steadily, so that a clock that is set makes no part
    longer or shorter.
    """

    def __init__(self, clock: Clock) -> None:
        self._began_ms = epoch_ms(clock())
        self._began_s = time.perf_counter()
        self._last_s = self._began_s
        self._seconds: dict[str, float] = {}
        self._amounts: dict[tuple[str, str], int] = {}
        self._timings: list[JsonValue] = []
        self._measures: dict[str, JsonValue] = {}

    def lap(self, name: str, attributes: dict[str, int] | None = None) -> None:
        """Note what has just ended: it began when the part before it ended. A name may come again (`fold`)."""
        now_s = time.perf_counter()
        self._timings.append(
            {
                "name": name,
                "start_ms": self._epoch_ms(self._last_s),
                "end_ms": self._epoch_ms(now_s),
                "attributes": dict[str, JsonValue](attributes or {}),
            }
        )
        self._seconds[name] = self._seconds.get(name, 0.0) + now_s - self._last_s
        self._last_s = now_s
        for attribute, amount in (attributes or {}).items():
            self._amounts[name, attribute] = self._amounts.get((name, attribute), 0) + amount

    def seconds(self, name: str) -> float:
        """Return how long all laps of a name took together."""
        return self._seconds[name]

    def amount(self, name: str, attribute: str) -> int:
        """Return what an attribute comes to over all laps of a name."""
        return self._amounts[name, attribute]

    def measure(self, **amounts: float) -> None:
        """Note what the job got through, by the names that the step's output documents."""
        self._measures |= amounts

    @property
    def timings(self) -> list[JsonValue]:
        """The laps: objects with `name`, `start_ms`, `end_ms` (epoch, UTC) and `attributes`, in order of time."""
        return self._timings

    @property
    def measures(self) -> dict[str, JsonValue]:
        """What was measured."""
        return self._measures

    def _epoch_ms(self, at_s: float) -> int:
        return self._began_ms + round((at_s - self._began_s) * 1000)
