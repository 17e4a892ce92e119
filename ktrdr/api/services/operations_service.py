"""Reading, watching, cancelling and reviving operations of every type."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from ktrdr.agents.cycle import AGENT_RESEARCH
from ktrdr.agents.progress import running_child_id, with_cycle_progress
from ktrdr.agents.revival import OperationRevival
from ktrdr.api.paging import PageOptions
from ktrdr.artifacts.attempt import discard_attempt
from ktrdr.artifacts.shelf import Shelf
from ktrdr.clock import Clock
from ktrdr.config import Settings
from ktrdr.errors import NotFound
from ktrdr.operations.lineage import log_subject
from ktrdr.operations.operation import Operation, OperationPage, OperationStatus
from ktrdr.operations.pruning import OperationPruner
from ktrdr.operations.store import OperationStore
from ktrdr.schemas.operations import OperationDocument, OperationList, OperationLog, PruneRequest, PruneResult
from ktrdr.telemetry.log_files import read_log
from ktrdr.telemetry.logs import logging_about

WATCH_INTERVAL_S = 0.25
_logger = logging.getLogger(__name__)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class OperationFilters:
    """Which operations to list; None does not restrict. `parent_id` may be part of an id."""

    type: str | None
    status: OperationStatus | None
    parent_id: str | None
    since: datetime | None
    until: datetime | None


# The service has a method named `list`, which hides the type in its annotations.
Documents = list[OperationDocument]


class OperationsService:
    """The use-cases behind `/operations`. A cycle's progress is computed when it is read."""

    def __init__(
        self,
        operations: OperationStore,
        revival: OperationRevival,
        pruner: OperationPruner,
        *,
        checkpoints: Shelf,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._operations = operations
        self._revival = revival
        self._pruner = pruner
        self._checkpoints = checkpoints
        self._settings = settings
        self._clock = clock

    def resolve(self, fragment: str) -> str:
        """Return the whole id that a part of one means; raises as the store's."""
        return self._operations.resolve(fragment)

    def get(self, operation_id: str) -> OperationDocument:
        """Return one operation.

        Raises:
            NotFound: There is none of this id.
        """
        return self.document(self._operations.get(operation_id))

    def list(self, filters: OperationFilters, page: PageOptions) -> OperationList:
        """Return a page of operations, newest first.

        Raises:
            InvalidInput: The cursor is none that a page gave.
            NotFound: No operation fits `parent_id`.
            AmbiguousId: Several do.
        """
        parent_id = filters.parent_id
        found = self._operations.list(
            type=filters.type,
            status=filters.status,
            parent_id=None if parent_id is None else self.resolve(parent_id),
            since=filters.since,
            until=filters.until,
            limit=page.limit,
            cursor=page.cursor,
        )
        return self._page(found)

    def children(self, operation_id: str, page: PageOptions) -> OperationList:
        """Return a page of the operations that this one started, oldest first.

        Raises:
            InvalidInput: The cursor is none that a page gave.
        """
        return self._page(
            self._operations.list(parent_id=operation_id, limit=page.limit, cursor=page.cursor, oldest_first=True)
        )

    def log(self, operation_id: str, page: PageOptions) -> OperationLog:
        """Return a page of what every process of this folder logged about an operation and all it started.

        Raises:
            NotFound: There is none of this id.
            InvalidInput: The cursor is none that a page gave.
        """
        family = {member.operation_id for member in self._operations.family(operation_id)}
        found = read_log(self._settings.logs_folder, family, limit=page.limit, cursor=page.cursor)
        return OperationLog.model_validate(found)

    def prune(self, request: PruneRequest) -> PruneResult:
        """Forget operations that ended long ago, and the files of their attempts and checkpoints."""
        age_s = int(request.older_than[:-1]) * _SECONDS[request.older_than[-1]]
        ended_before = self._clock() - timedelta(seconds=age_s)
        pruned = self._pruner.prune(ended_before, dry_run=request.dry_run)
        if not request.dry_run:
            for operation_id in pruned.operation_ids:
                for folder in self._settings.attempts_folder.glob(f"{operation_id}*"):
                    discard_attempt(folder)
                self._checkpoints.discard(operation_id)
        return PruneResult(
            dry_run=request.dry_run,
            ended_before=ended_before,
            n_operations=len(pruned.operation_ids),
            by_type=pruned.by_type,
        )

    def cancel(self, operation_id: str) -> OperationDocument:
        """Cancel an operation and its children; twice is fine.

        Raises:
            NotFound: There is none of this id.
            Conflict: It has already completed or failed.
        """
        cancelled = self._operations.cancel(operation_id)
        with logging_about(log_subject(self._operations, cancelled)):
            _logger.info("operation %s was cancelled", operation_id)
        return self.document(cancelled)

    def resume(self, operation_id: str) -> OperationDocument:
        """Set a cancelled or interrupted operation going again; raises as `OperationRevival.resume`."""
        return self.document(self._revival.resume(operation_id))

    def retry(self, operation_id: str) -> OperationDocument:
        """Try a failed operation again; raises as `OperationRevival.retry`."""
        return self.document(self._revival.retry(operation_id))

    def _page(self, page: OperationPage) -> OperationList:
        return OperationList(operations=self.documents(page.operations), next_cursor=page.next_cursor)

    def document(self, operation: Operation) -> OperationDocument:
        """Return an operation as the wire shows it."""
        return self.documents([operation])[0]

    def documents(self, operations: Sequence[Operation]) -> Documents:
        """Return operations as the wire shows them."""
        working = {operation.operation_id: _working_child_id(operation) for operation in operations}
        # A child's id is written down before it starts, so there may be none of it.
        children = self._operations.get_many([child_id for child_id in working.values() if child_id])
        return [
            OperationDocument.model_validate(
                with_cycle_progress(operation, children.get(working[operation.operation_id] or ""))
                if operation.type == AGENT_RESEARCH
                else operation
            )
            for operation in operations
        ]

    async def changes(self, operation_id: str) -> AsyncIterator[OperationDocument]:
        """Yield the operation now and after every change, until it has ended.

        Without a database, or once the operation was pruned, there is no more to say: who listens asks again.
        """
        shown: OperationDocument | None = None
        while shown is None or not shown.status.is_terminal:
            try:
                latest = await asyncio.to_thread(self.get, operation_id)
            except (NotFound, SQLAlchemyError):
                return
            if latest != shown:
                yield latest
            shown = latest
            if not latest.status.is_terminal:
                await asyncio.sleep(WATCH_INTERVAL_S)


def _working_child_id(operation: Operation) -> str | None:
    if operation.type != AGENT_RESEARCH or operation.status is OperationStatus.COMPLETED:
        return None
    return running_child_id(operation)
