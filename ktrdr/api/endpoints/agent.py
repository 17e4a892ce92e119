"""`/agent`: start research cycles, see what goes on."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from ktrdr.api.composition import Composed
from ktrdr.api.paging import Page
from ktrdr.errors import Conflict
from ktrdr.schemas.agent import (
    DEFAULT_BUDGET_DAYS,
    DEFAULT_RECENT,
    MAX_BUDGET_DAYS,
    MAX_RECENT,
    AgentStatus,
    BudgetDocument,
    TriedStrategies,
    TriggerAccepted,
    TriggerRefused,
    TriggerRequest,
)
from ktrdr.schemas.history import CycleHistory
from ktrdr.schemas.problem import Problem

router = APIRouter(prefix="/agent", tags=["agent"])


@router.post(
    "/trigger",
    status_code=202,
    response_model=TriggerAccepted,
    responses={409: {"model": TriggerRefused}, 404: {"model": Problem}},
)
def trigger(composition: Composed, request: TriggerRequest | None = None) -> TriggerAccepted | JSONResponse:
    """Start one research cycle."""
    try:
        return composition.agent.trigger(request or TriggerRequest())
    except Conflict as error:
        refusal = TriggerRefused(reason=error.reason, operation_id=error.operation_id)
        return JSONResponse(refusal.model_dump(mode="json", exclude_none=True), 409)


@router.get("/status")
def status(composition: Composed) -> AgentStatus:
    """Say whether a cycle is active, and which ended last."""
    return composition.agent.status()


@router.get("/history")
def history(composition: Composed, page: Page) -> CycleHistory:
    """Return a page of cycles that have ended, newest first, with their strategies' figures and what they cost."""
    return composition.agent.history(page)


@router.get("/budget")
def budget(
    composition: Composed, days: Annotated[int, Query(ge=1, le=MAX_BUDGET_DAYS)] = DEFAULT_BUDGET_DAYS
) -> BudgetDocument:
    """Say what LLM calls cost, and what is left of today (UTC)."""
    return composition.agent.budget(days)


@router.get("/memory")
def memory(
    composition: Composed, limit: Annotated[int, Query(ge=1, le=MAX_RECENT)] = DEFAULT_RECENT
) -> TriedStrategies:
    """Say what was tried before and how it ended, newest first, as a designer is told."""
    return composition.agent.memory(limit)
