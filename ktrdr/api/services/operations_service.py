"""Reading, watching, cancelling and reviving operations of every type."""

import asyncio
from collections.abc import AsyncIterator

from ktrdr.agents.cycle import AGENT_RESEARCH
from ktrdr.agents.progress import running_child_id, with_cycle_progress
from ktrdr.agents.revival import OperationRevival
from ktrdr.errors import NotFound
from ktrdr.operations.operation import Operation, OperationStatus
from ktrdr.operations.store import OperationStore
from ktrdr.schemas.operations import OperationDocument, OperationList

WATCH_INTERVAL_S = 0.25


class OperationsService:
    """The use-cases behind `/operations`. A cycle's progress is computed when it is read."""

    def __init__(self, operations: OperationStore, revival: OperationRevival) -> None:
        self._operations = operations
        self._revival = revival

    def get(self, operation_id: str) -> OperationDocument:
        """Return one operation.

        Raises:
            NotFound: There is none of this id.
        """
        return self.document(self._operations.get(operation_id))

    def list(
        self,
        *,
        type: str | None,
        status: OperationStatus | None,
        parent_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> OperationList:
        """Return a page of operations, newest first.

        Raises:
            InvalidInput: The cursor is none that a page gave.
        """
        page = self._operations.list(type=type, status=status, parent_id=parent_id, limit=limit, cursor=cursor)
        return OperationList(
            operations=[self.document(operation) for operation in page.operations],
            next_cursor=page.next_cursor,
        )

    def children(self, operation_id: str) -> OperationList:
        """Return the operations that this one started, oldest first.

        Raises:
            NotFound: There is no operation of this id.
        """
        children = self._operations.children(operation_id)
        return OperationList(operations=[self.document(child) for child in children], next_cursor=None)

    def cancel(self, operation_id: str) -> OperationDocument:
        """Cancel an operation and its children; twice is fine.

        Raises:
            NotFound: There is none of this id.
            Conflict: It has already completed or failed.
        """
        return self.document(self._operations.cancel(operation_id))

    def resume(self, operation_id: str) -> OperationDocument:
        """Set a cancelled or interrupted operation going again; raises as `OperationRevival.resume`."""
        return self.document(self._revival.resume(operation_id))

    def retry(self, operation_id: str) -> OperationDocument:
        """Try a failed operation again; raises as `OperationRevival.retry`."""
        return self.document(self._revival.retry(operation_id))

    def document(self, operation: Operation) -> OperationDocument:
        """Return an operation as the wire shows it."""
        if operation.type == AGENT_RESEARCH:
            operation = with_cycle_progress(operation, self._working_child(operation))
        return OperationDocument.model_validate(operation)

    def _working_child(self, cycle: Operation) -> Operation | None:
        child_id = running_child_id(cycle)
        if child_id is None or cycle.status is OperationStatus.COMPLETED:
            return None
        try:
            return self._operations.get(child_id)
        except NotFound:
            return None  # its id is written down before it starts

    async def changes(self, operation_id: str) -> AsyncIterator[OperationDocument]:
        """Yield the operation now and after every change, until it has ended."""
        shown: OperationDocument | None = None
        while shown is None or not shown.status.is_terminal:
            latest = await asyncio.to_thread(self.get, operation_id)
            if latest != shown:
                yield latest
            shown = latest
            if not latest.status.is_terminal:
                await asyncio.sleep(WATCH_INTERVAL_S)
