"""Errors as answers: the only place that knows which HTTP code means what."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from ktrdr.artifacts.trouble import storage_trouble
from ktrdr.database.trouble import database_trouble
from ktrdr.errors import (
    AmbiguousId,
    ArtifactsUnavailable,
    Conflict,
    InvalidInput,
    KtrdrError,
    NotFound,
    StrategyInvalid,
    WorkspaceUnusable,
)
from ktrdr.schemas.problem import Problem

RETRY_AFTER_S = 5
PROBLEM_MEDIA_TYPE = "application/problem+json"
# The first class that fits wins; what is not listed is our own fault.
_STATUS_BY_ERROR: tuple[tuple[type[KtrdrError], HTTPStatus], ...] = (
    (InvalidInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (WorkspaceUnusable, HTTPStatus.SERVICE_UNAVAILABLE),
    (KtrdrError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
_REASON_BY_STATUS = {
    HTTPStatus.NOT_FOUND: "route_not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.REQUEST_TIMEOUT: "request_too_slow",
}


def problem_response(
    status: HTTPStatus,
    *,
    reason: str,
    detail: str,
    instance: str,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, object] | None = None,
) -> JSONResponse:
    """Return a problem document as an answer; `members` are added to it."""
    problem = Problem.model_validate(
        {
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
            "reason": reason,
            "instance": instance,
            **(members or {}),
        }
    )
    return JSONResponse(problem.model_dump(mode="json"), status.value, headers=headers, media_type=PROBLEM_MEDIA_TYPE)


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of this app a problem document. What nobody expected is caught further out, at the edge."""
    app.add_exception_handler(KtrdrError, _answer_ktrdr_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(SQLAlchemyError, _answer_database_error)
    app.add_exception_handler(OSError, _answer_storage_error)


async def _answer_ktrdr_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, KtrdrError)
    status = next(code for kind, code in _STATUS_BY_ERROR if isinstance(error, kind))
    members: dict[str, object] = {}
    headers = {"retry-after": str(RETRY_AFTER_S)} if isinstance(error, ArtifactsUnavailable) else None
    if isinstance(error, Conflict):
        members["operation_id"] = error.operation_id
    if isinstance(error, AmbiguousId):
        members["candidates"] = error.candidates
    if isinstance(error, StrategyInvalid):
        members["faults"] = error.faults
    return problem_response(
        status,
        reason=error.reason,
        detail=error.message,
        instance=request.url.path,
        headers=headers,
        members=members,
    )


async def _answer_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [_fault(item["loc"], item["msg"]) for item in error.errors()]
    return problem_response(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        reason="invalid_request",
        detail="; ".join(faults),
        instance=request.url.path,
        members={"faults": faults},
    )


def _fault(location: tuple[int | str, ...], message: str) -> str:
    # ("body", "seed") -> "seed"; a body that is no JSON at all has only its offset: ("body", 12)
    names = [str(part) for part in location[1:]] or [str(part) for part in location]
    return f"{'.'.join(names)}: {message}"


async def _answer_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    return problem_response(
        status,
        reason=_REASON_BY_STATUS.get(status, status.name.lower()),
        detail=f"{request.method} {request.url.path}: {error.detail}",
        instance=request.url.path,
        headers=error.headers,
    )


async def _answer_database_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SQLAlchemyError)
    trouble = database_trouble(error, request.app.state.composition.database.engine.url)
    return _answer_trouble(request, trouble, error)


async def _answer_storage_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)
    return _answer_trouble(request, storage_trouble(error), error)


def _answer_trouble(request: Request, trouble: WorkspaceUnusable | None, error: Exception) -> JSONResponse:
    if trouble is None:
        raise error  # a fault of ours: the edge records it
    return problem_response(
        HTTPStatus.SERVICE_UNAVAILABLE,
        reason=trouble.reason,
        detail=trouble.message,
        instance=request.url.path,
        headers={"retry-after": str(RETRY_AFTER_S)},
    )
