"""Where a page of operations ended, as the text that a caller brings back for the next one."""

import base64

from ktrdr.errors import InvalidInput
from ktrdr.operations.operation import OPERATION_ID_PATTERN


def encode_cursor(created_at: int, created_at_ms: int, operation_id: str) -> str:
    """Return the place after an operation: the engine's time and ours, in milliseconds, and its id."""
    return base64.urlsafe_b64encode(f"{created_at}:{created_at_ms}:{operation_id}".encode()).decode()


def decode_cursor(cursor: str) -> tuple[int, int, str]:
    """Return what `encode_cursor` was given.

    Raises:
        InvalidInput: It is no cursor (`bad_cursor`).
    """
    try:
        created_at, created_at_ms, operation_id = base64.urlsafe_b64decode(cursor.encode()).decode().split(":")
        if not OPERATION_ID_PATTERN.fullmatch(operation_id):
            raise ValueError(operation_id)
        return int(created_at), int(created_at_ms), operation_id
    except ValueError:
        raise InvalidInput(
            f"cursor: need the next_cursor of an earlier page, was {cursor!r}", reason="bad_cursor"
        ) from None
