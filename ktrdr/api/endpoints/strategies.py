"""`/strategies`: what is stored, and new files."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from ktrdr.api.composition import Composed
from ktrdr.api.paging import Page
from ktrdr.errors import StrategyInvalid
from ktrdr.jobs.evidence_launch import start_reproduction
from ktrdr.schemas.operations import OperationDocument
from ktrdr.schemas.problem import Problem
from ktrdr.schemas.strategies import DesignRequest, StrategyDetail, StrategyList, ValidationReport

router = APIRouter(prefix="/strategies", tags=["strategies"])
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
_FILE_BODY = {
    "requestBody": {
        "required": True,
        "description": "the strategy file, YAML or JSON",
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


async def _body_text(request: Request) -> str:
    try:
        return (await request.body()).decode("utf-8")
    except UnicodeDecodeError:
        raise StrategyInvalid(["document: not UTF-8 text"]) from None


# JSON is YAML, so both kinds of body are read alike.
StrategyText = Annotated[str, Depends(_body_text)]


@router.get("")
def list_strategies(composition: Composed, page: Page) -> StrategyList:
    """Return a page of stored strategies, newest first."""
    return composition.strategies.list(page)


@router.get("/{name}", responses={404: {"model": Problem}})
def show_strategy(composition: Composed, name: str) -> StrategyDetail:
    """Return one strategy with everything that was found about it."""
    return composition.strategies.detail(name)


@router.get("/{name}/report", response_class=HTMLResponse, responses={404: {"model": Problem}})
def show_report(composition: Composed, name: str) -> HTMLResponse:
    """Return one self-contained page about a strategy, as `report.html` beside it. It needs no network and no script.

    Of research bars only: what came of an exam on the sealed ones is not in it.
    """
    return HTMLResponse(composition.strategies.report(name), headers=_PAGE_HEADERS)


@router.post("/validate", openapi_extra=_FILE_BODY)
def validate_strategy(composition: Composed, text: StrategyText) -> ValidationReport:
    """Return every fault of a strategy file; nothing is stored."""
    return composition.strategies.validate(text)


@router.post("", status_code=201, openapi_extra=_FILE_BODY, responses={409: {"model": Problem}})
def add_strategy(composition: Composed, text: StrategyText) -> StrategyDetail:
    """Store a strategy file under the name it gives. The same file again is fine, another of its name is 409."""
    return composition.strategies.add(text)


@router.post("/designs", status_code=201, responses={404: {"model": Problem}, 409: {"model": Problem}})
def add_design(composition: Composed, request: DesignRequest) -> StrategyDetail:
    """Store a strategy that an agent designed, with who made it. Near-copies of stored ones are 409 `near_copy`."""
    return composition.strategies.add_design(request)


@router.post("/{name}/reproduce", status_code=202, responses={404: {"model": Problem}, 409: {"model": Problem}})
def reproduce_strategy(composition: Composed, name: str) -> OperationDocument:
    """Train and backtest a strategy again elsewhere, compare every file byte by byte, and return the operation.

    Its result says which files differ. Nothing of the repetition is kept, and it is no trial.
    """
    return composition.operations.document(start_reproduction(composition.laboratory, name))
