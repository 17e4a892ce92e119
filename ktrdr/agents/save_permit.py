"""Whether a tool call may still save. A thread cannot be stopped, but it can be kept from storing anything too late."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ktrdr.errors import Conflict


class SavePermit:
    """One call's permit. Once it is withdrawn the call saves nothing; what it saved before stays."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_withdrawn = False

    def withdraw(self) -> None:
        """Let the call save nothing from now on, waiting for the end of what it is putting into place."""
        with self._lock:
            self._is_withdrawn = True

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Put something into place; it cannot be withdrawn meanwhile. Must be short.

        Raises:
            Conflict: Nobody waits for the call any more (`given_up`).
        """
        with self._lock:
            if self._is_withdrawn:
                raise Conflict("nobody waits for this call any more", reason="given_up")
            yield
