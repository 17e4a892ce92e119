"""`/operations`: list, show, watch, cancel, resume, retry and prune work of every type.

Wherever an id is taken, an unambiguous beginning of one, or its last six characters, will do.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AwareDatetime

from ktrdr.api.composition import Composed
from ktrdr.api.paging import Page, PageOptions
from ktrdr.api.services.operations_service import OperationFilters
from ktrdr.operations.operation import OperationStatus
from ktrdr.schemas.operations import OperationDocument, OperationList, OperationLog, PruneRequest, PruneResult
from ktrdr.schemas.problem import Problem

MAX_LOG_PAGE = 1000
Responses = dict[int | str, dict[str, Any]]
router = APIRouter(prefix="/operations", tags=["operations"])
_NOT_FOUND: Responses = {404: {"model": Problem, "description": "No operation fits the id"}}
_AMBIGUOUS: Responses = {409: {"model": Problem, "description": "Several operations fit the id: `candidates`"}}
_REFUSED: Responses = {409: {"model": Problem, "description": "It has ended already, or several operations fit the id"}}
_NO_REVIVAL: Responses = {
    409: {"model": Problem, "description": "It cannot go on, or not now, as `reason` says; or several fit the id"}
}


def _resolved_id(composition: Composed, operation_id: str) -> str:
    return composition.operations.resolve(operation_id)


# Looked up before the answer begins, so that an unknown id is 404 even where the answer is a stream.
OperationId = Annotated[str, Depends(_resolved_id)]


@router.get("", responses={**_NOT_FOUND, **_AMBIGUOUS})
def list_operations(
    composition: Composed,
    page: Page,
    type: Annotated[str | None, Query(pattern=r"^[a-z_]{1,64}$")] = None,
    status: OperationStatus | None = None,
    parent_id: Annotated[str | None, Query(max_length=100)] = None,
    since: Annotated[AwareDatetime | None, Query(description="created then or later")] = None,
    until: Annotated[AwareDatetime | None, Query(description="created before")] = None,
) -> OperationList:
    """Return a page of operations, newest first."""
    return composition.operations.list(OperationFilters(type, status, parent_id, since, until), page)


@router.post("/prune")
def prune_operations(composition: Composed, request: PruneRequest) -> PruneResult:
    """Forget what ended long ago: operations, their steps, attempts. Ledgers and strategies stay as they are.

    An operation goes together with all it started, and only if none of them works or ended later. The newest of each
    type stays.
    """
    return composition.operations.prune(request)


@router.get("/{operation_id}", responses={**_NOT_FOUND, **_AMBIGUOUS})
def show_operation(composition: Composed, operation_id: OperationId) -> OperationDocument:
    """Return one operation."""
    return composition.operations.get(operation_id)


@router.get("/{operation_id}/children", responses={**_NOT_FOUND, **_AMBIGUOUS})
def list_children(composition: Composed, operation_id: OperationId, page: Page) -> OperationList:
    """Return a page of the operations that this one started, oldest first."""
    return composition.operations.children(operation_id, page)


@router.get("/{operation_id}/logs", responses={**_NOT_FOUND, **_AMBIGUOUS})
def read_log(
    composition: Composed,
    operation_id: OperationId,
    limit: Annotated[int, Query(ge=1, le=MAX_LOG_PAGE)] = 200,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> OperationLog:
    """Return what workers of this workspace logged about an operation and all it started, oldest first."""
    return composition.operations.log(operation_id, PageOptions(limit, cursor))


@router.get("/{operation_id}/events", response_class=EventSourceResponse, responses={**_NOT_FOUND, **_AMBIGUOUS})
async def watch_operation(composition: Composed, operation_id: OperationId) -> AsyncIterator[ServerSentEvent]:
    """Send an `operation` event now and after every change, until the operation has ended."""
    async for document in composition.operations.changes(operation_id):
        yield ServerSentEvent(event="operation", raw_data=document.model_dump_json())


@router.post("/{operation_id}/cancel", status_code=202, responses={**_NOT_FOUND, **_REFUSED})
def cancel_operation(composition: Composed, operation_id: OperationId) -> OperationDocument:
    """Cancel an operation and its children. Twice is fine; 409 when it has already ended."""
    return composition.operations.cancel(operation_id)


@router.post("/{operation_id}/resume", status_code=202, responses={**_NOT_FOUND, **_NO_REVIVAL})
def resume_operation(composition: Composed, operation_id: OperationId) -> OperationDocument:
    """Set a cancelled or interrupted operation going again; finished phases are not run again."""
    return composition.operations.resume(operation_id)


@router.post("/{operation_id}/retry", status_code=202, responses={**_NOT_FOUND, **_NO_REVIVAL})
def retry_operation(composition: Composed, operation_id: OperationId) -> OperationDocument:
    """Try a failed operation again from the phase that failed; 409 when a gate refused it."""
    return composition.operations.retry(operation_id)
