"""The API's description of itself: who may ask, and that every error is a problem document and says so."""

from typing import Any

from fastapi import FastAPI

from ktrdr.api.access import OPEN_PATH
from ktrdr.api.errors import PROBLEM_MEDIA_TYPE
from ktrdr.schemas.problem import Problem

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_SCHEME = "token"
# What any route may answer, whatever it does: the edge decides, or the database is away.
PROBLEMS_OF_EVERY_ROUTE: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body cannot be read: it is not UTF-8, or not the form it says it is"},
    401: {"model": Problem, "description": "The server has a token, and the request does not show it"},
    403: {"model": Problem, "description": "A page of another site asks, or by a name that is not the server's"},
    408: {"model": Problem, "description": "The body came too slowly"},
    413: {"model": Problem, "description": "The body is too large"},
    422: {"model": Problem, "description": "The request is wrong"},
    503: {"model": Problem, "description": "The database or the workspace cannot be used now"},
}


def describe_problems(app: FastAPI, *, needs_token: bool) -> None:
    """Make the OpenAPI document of an app name its token, and the media type that its errors have.

    The framework gives an error the media type of the route's success.
    """
    describe = app.openapi

    def describe_with_problems() -> dict[str, Any]:
        document = describe()
        schemes = document["components"].setdefault("securitySchemes", {})
        schemes[_SCHEME] = {"type": "http", "scheme": "bearer", "description": "KTRDR_API_TOKEN of the server"}
        for path, item in document["paths"].items():
            for operation in item.values():
                operation["security"] = [{_SCHEME: []}] if needs_token and path != OPEN_PATH else []
                _describe_responses(operation["responses"])
        return document

    app.openapi = describe_with_problems  # type: ignore[method-assign]  # the documented way to extend it


def _describe_responses(responses: dict[str, Any]) -> None:
    for response in responses.values():
        if {"schema": _PROBLEM} in response.get("content", {}).values():
            response["content"] = {PROBLEM_MEDIA_TYPE: {"schema": _PROBLEM}}
    unauthorized = responses["401"]
    unauthorized["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
