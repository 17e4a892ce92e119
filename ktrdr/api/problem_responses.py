"""The API's description of itself: errors are problem documents, and say so in their media type."""

from typing import Any

from fastapi import FastAPI

from ktrdr.api.errors import PROBLEM_MEDIA_TYPE

_PROBLEM = {"$ref": "#/components/schemas/Problem"}


def describe_problems(app: FastAPI) -> None:
    """Make the OpenAPI document of an app name the media type that its errors have.

    The framework gives an error the media type of the route's success.
    """
    describe = app.openapi

    def describe_with_problems() -> dict[str, Any]:
        document = describe()
        for path in document["paths"].values():
            for operation in path.values():
                for response in operation["responses"].values():
                    if {"schema": _PROBLEM} in response.get("content", {}).values():
                        response["content"] = {PROBLEM_MEDIA_TYPE: {"schema": _PROBLEM}}
        return document

    app.openapi = describe_with_problems  # type: ignore[method-assign]  # the documented way to extend it
