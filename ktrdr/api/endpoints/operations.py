"""`/operations`: list, show, watch, cancel, resume and retry work of every type."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from ktrdr.api.composition import Composed
from ktrdr.operations.operation import OperationStatus
from ktrdr.operations.store import MAX_PAGE
from ktrdr.schemas.operations import OperationDocument, OperationList
from ktrdr.schemas.problem import Problem

router = APIRouter(prefix="/operations", tags=["operations"], responses={404: {"model": Problem}})


@router.get("")
def list_operations(
    composition: Composed,
    type: str | None = None,
    status: OperationStatus | None = None,
    parent_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: str | None = None,
) -> OperationList:
    """Return a page of operations, newest first."""
    return composition.operations.list(type=type, status=status, parent_id=parent_id, limit=limit, cursor=cursor)


def _existing_operation(composition: Composed, operation_id: str) -> OperationDocument:
    return composition.operations.get(operation_id)


# Looked up before the answer begins, so that an unknown id is 404 even where the answer is a stream.
ExistingOperation = Annotated[OperationDocument, Depends(_existing_operation)]


@router.get("/{operation_id}")
def show_operation(operation: ExistingOperation) -> OperationDocument:
    """Return one operation."""
    return operation


@router.get("/{operation_id}/children")
def list_children(composition: Composed, operation_id: str) -> OperationList:
    """Return the operations that this one started, oldest first."""
    return composition.operations.children(operation_id)


@router.get("/{operation_id}/events", response_class=EventSourceResponse)
async def watch_operation(composition: Composed, operation: ExistingOperation) -> AsyncIterator[ServerSentEvent]:
    """Send an `operation` event now and after every change, until the operation has ended."""
    async for document in composition.operations.changes(operation.operation_id):
        yield ServerSentEvent(event="operation", raw_data=document.model_dump_json())


@router.post("/{operation_id}/cancel", status_code=202, responses={409: {"model": Problem}})
def cancel_operation(composition: Composed, operation_id: str) -> OperationDocument:
    """Cancel an operation and its children. Twice is fine; 409 when it has already ended."""
    return composition.operations.cancel(operation_id)


@router.post("/{operation_id}/resume", status_code=202, responses={409: {"model": Problem}})
def resume_operation(composition: Composed, operation_id: str) -> OperationDocument:
    """Set a cancelled or interrupted operation going again; finished phases are not run again."""
    return composition.operations.resume(operation_id)


@router.post("/{operation_id}/retry", status_code=202, responses={409: {"model": Problem}})
def retry_operation(composition: Composed, operation_id: str) -> OperationDocument:
    """Try a failed operation again from the phase that failed; 409 when a gate refused it."""
    return composition.operations.retry(operation_id)
