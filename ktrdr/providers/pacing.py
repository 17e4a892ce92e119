"""At most so many requests in so much time, counted across all processes of a workspace."""

import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pace:
    """Lets `limit` requests through in any `window_s` seconds, and makes others wait.

    Attributes:
        file: Where the times of the newest requests are kept, so that a load that is resumed, or runs beside another,
            counts those before it. A file cut short counts as none.
        limit: At least 1.
        window_s: Length of the window.
        now_s: The present, epoch seconds.
        sleep: Waits so many seconds.
    """

    file: Path
    limit: int
    window_s: float
    now_s: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def take_turn(self) -> None:
        """Return when one more request may be made, and count it."""
        while (wait_s := self._try()) > 0:
            self.sleep(wait_s)

    def _try(self) -> float:
        """Count a request and return 0, or return how long to wait until there may be room for one."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(handle, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            now_s = self.now_s()
            # A clock that was set back must not keep anybody waiting for longer than the window.
            recent = [made_s for made_s in _read_times(file.read()) if now_s - self.window_s < made_s <= now_s]
            if len(recent) >= self.limit:
                return max(recent[-self.limit] + self.window_s - now_s, 0.001)
            file.seek(0)
            file.truncate()
            json.dump([*recent, now_s], file)
            return 0.0


def _read_times(text: str) -> list[float]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return []
    return sorted(float(each) for each in found if isinstance(each, int | float)) if isinstance(found, list) else []
