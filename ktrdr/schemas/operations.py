"""Operations on the wire: exactly the fields of an operation."""

from pydantic import Field, JsonValue

from ktrdr.operations.operation import OperationStatus
from ktrdr.schemas.document import Document, RequestBody, Timestamp


class ProgressDocument(Document):
    """How far an operation is; `percentage` is 0..100."""

    percentage: float
    current_step: str


class OperationErrorDocument(Document):
    """Why an operation failed; `reason` is a stable slug."""

    reason: str
    message: str


class OperationDocument(Document):
    """One durable unit of work. Times are UTC with milliseconds."""

    operation_id: str
    type: str
    status: OperationStatus
    parent_id: str | None
    created_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None
    duration_seconds: float | None
    progress: ProgressDocument
    metadata: dict[str, JsonValue]
    result: JsonValue
    error: OperationErrorDocument | None


class OperationList(Document):
    """A page of operations, and where the next one begins (null at the end)."""

    operations: list[OperationDocument]
    next_cursor: str | None


class LogLineDocument(Document):
    """One line of a log. `time` is ISO 8601, UTC; `source` is the worker, or the machine's API, that wrote it.

    `phase` is the operation's type where it is a phase of a cycle. `trace` is an error's, `trace_id` the cycle's.
    """

    time: str
    level: str
    logger: str
    source: str
    operation_id: str
    parent_id: str | None
    phase: str | None
    trace_id: str | None
    message: str
    trace: str | None


class OperationLog(Document):
    """Lines about one operation and all it started, oldest first, and where the next page begins."""

    lines: list[LogLineDocument]
    next_cursor: str | None


class PruneRequest(RequestBody):
    """Forget operations that ended long ago."""

    older_than: str = Field(
        pattern=r"^([0-9]{1,6}[smh]|[0-9]{1,4}d)$", description="how long ago they must have ended: 90s, 15m, 12h, 30d"
    )
    dry_run: bool = Field(default=False, description="only say what would be forgotten")


class PruneResult(Document):
    """What was forgotten, or with `dry_run` would be."""

    dry_run: bool
    ended_before: Timestamp
    n_operations: int
    by_type: dict[str, int]
