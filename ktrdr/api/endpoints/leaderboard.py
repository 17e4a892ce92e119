"""`/leaderboard`: backtested strategies, ranked."""

from typing import Annotated

from fastapi import APIRouter, Query

from ktrdr.api.composition import Composed
from ktrdr.api.paging import PageOptions
from ktrdr.operations.store import MAX_PAGE
from ktrdr.schemas.vault import Leaderboard

router = APIRouter(tags=["leaderboard"])


@router.get("/leaderboard")
def show_leaderboard(
    composition: Composed,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Leaderboard:
    """Return a page of the ranking, by the lower end of the Sharpe interval of the return less its market part."""
    return composition.leaderboard.page(PageOptions(limit, cursor))
