"""Operations on the wire: exactly the fields of an operation."""

from pydantic import JsonValue

from ktrdr.operations.operation import OperationStatus
from ktrdr.schemas.document import Document, Timestamp


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
