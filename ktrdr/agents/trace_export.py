"""Send every operation's spans once it has ended: by whichever worker sees it first, however it ended.

What could not be sent is sent later: the rows stay, and a collector that was down for a night misses nothing.
"""

import logging
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from ktrdr.agents.attempts import read_attempts
from ktrdr.agents.traces import OperationRecord, spans_of
from ktrdr.clock import Clock, epoch_ms
from ktrdr.database.engine import Database
from ktrdr.operations.executions import read_executions
from ktrdr.operations.lineage import root_id
from ktrdr.operations.operation import Operation
from ktrdr.operations.step_records import ended_without, read_steps
from ktrdr.operations.store import OperationStore
from ktrdr.telemetry.spans import Span

INTERVAL_S = 1.0
# How far back a worker looks when it starts, and how long a collector may be away.
RETENTION = timedelta(days=1)
# Clocks of several machines differ, and a row is seen only when its transaction has ended.
_OVERLAP_MS = 60_000
_BATCH = 50
_TRACED = "traced_at"
_LOCK = "traces"
_logger = logging.getLogger(__name__)


class SpanSender(Protocol):
    """Where spans go."""

    def send(self, spans: Sequence[Span]) -> bool:
        """Return whether they were taken."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class TraceExport:
    """A thread of a worker that sends the spans of ended operations. Nothing waits for it."""

    def __init__(
        self,
        database: Database,
        operations: OperationStore,
        sender: SpanSender,
        clock: Clock,
        *,
        shows_content: bool,
    ) -> None:
        self._database = database
        self._operations = operations
        self._sender = sender
        self._clock = clock
        self._shows_content = shows_content
        self._since_ms: int | None = None
        self._stopping = threading.Event()
        self._is_silent = False
        self._thread = threading.Thread(target=self._run, name="ktrdr-traces", daemon=True)

    def start(self) -> None:
        """Begin to look for ended operations."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Send what has ended by now, and wait for that at most so long."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def send_ended(self) -> bool:
        """Send the spans of operations that ended and were not sent; return whether nothing is left."""
        now_ms = epoch_ms(self._clock())
        since_ms = now_ms - round(RETENTION.total_seconds() * 1000) if self._since_ms is None else self._since_ms
        if not ended_without(self._operations, _TRACED, since_ms=since_ms, limit=1):
            self._since_ms = now_ms - _OVERLAP_MS
            return True
        with self._operations.exclusive_lock(_LOCK):
            ended = ended_without(self._operations, _TRACED, since_ms=since_ms, limit=_BATCH)
            records = self._records([self._operations.get(operation_id) for operation_id in ended])
            spans = [span for record in records for span in spans_of(record, shows_content=self._shows_content)]
            if spans and not self._sender.send(spans):
                self._say_once("the collector of traces does not answer; they are kept, and sent when it does")
                return True
            self._is_silent = False
            for record in records:
                self._operations.mark(record.operation.operation_id, _TRACED)
        return len(ended) < _BATCH

    def _records(self, operations: Sequence[Operation]) -> list[OperationRecord]:
        # An operation that was revived since it was listed tells its story when it ends.
        ended = [each for each in operations if each.status.is_terminal and each.completed_at is not None]
        roots = {each.operation_id: root_id(self._operations, each) for each in ended}
        executions = read_executions(self._operations, list(roots))
        steps = read_steps(self._operations, list(roots))
        attempts = read_attempts(self._database, sorted(set(roots.values())))
        return [
            OperationRecord(
                operation=each,
                root_id=roots[each.operation_id],
                executions=executions[each.operation_id],
                steps=[step for step in steps if step.operation_id == each.operation_id],
                attempts=[attempt for attempt in attempts if attempt.operation_id == each.operation_id],
            )
            for each in ended
        ]

    def _run(self) -> None:
        is_last = False
        while True:
            try:
                while not self.send_ended():
                    pass
            except Exception:  # the thread's outermost frame: the next round tries again
                _logger.exception("traces were not sent")
            if is_last:
                break
            is_last = self._stopping.wait(INTERVAL_S)
        self._sender.close()

    def _say_once(self, message: str) -> None:
        if not self._is_silent:
            _logger.warning("%s", message)
        self._is_silent = True
