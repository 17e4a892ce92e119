"""What an operation is, whatever work it stands for."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import JsonValue

OPERATION_ID_PATTERN = re.compile(r"op_(?P<type>[a-z_]+)_\d{8}_\d{6}_[0-9a-f]{6}")
OPERATION_SUFFIX_PATTERN = re.compile(r"[0-9a-f]{6}")


class OperationStatus(StrEnum):
    """Where an operation stands. The last three are final until somebody asks for a retry or resume."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more happens by itself."""
        return self not in (OperationStatus.PENDING, OperationStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an operation is. `percentage` is 0..100."""

    percentage: float
    current_step: str


@dataclass(frozen=True, slots=True)
class OperationError:
    """Why an operation failed. `reason` is a stable slug, `message` is for a person."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One durable unit of work, as its row in the database tells it."""

    operation_id: str
    type: str
    status: OperationStatus
    parent_id: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    progress: Progress
    metadata: dict[str, JsonValue]
    result: JsonValue
    error: OperationError | None

    @property
    def duration_seconds(self) -> float | None:
        """Seconds from start to end; None until both are known."""
        if self.started_at is None or self.completed_at is None:
            return None
        return round((self.completed_at - self.started_at).total_seconds(), 3)


@dataclass(frozen=True, slots=True)
class OperationPage:
    """Operations, newest first, and where the next page begins (None at the end)."""

    operations: list[Operation]
    next_cursor: str | None


def new_operation_id(operation_type: str, created_at: datetime) -> str:
    """Return `op_<type>_<YYYYMMDD>_<HHMMSS>_<6 hex>` for a UTC time."""
    return f"op_{operation_type}_{created_at:%Y%m%d_%H%M%S}_{secrets.token_hex(3)}"
