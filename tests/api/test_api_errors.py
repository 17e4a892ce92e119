import asyncio

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from ktrdr import errors
from ktrdr.api.errors import install_error_handlers


class Body(BaseModel):
    seed: int
    names: list[str]


def _answer_to(error: Exception) -> httpx.Response:
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/raise")
    def fail() -> None:
        raise error

    return _request(app, "GET", "/raise")


def _request(app: FastAPI, method: str, path: str, **options) -> httpx.Response:
    async def exchange() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            return await http.request(method, path, **options)

    return asyncio.run(exchange())


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (errors.InvalidInput("need a", reason="invalid_name"), 422, "invalid_name"),
        (errors.ImportRefused("row 3"), 422, "import_refused"),
        (errors.NotFound("no such", reason="unknown_strategy"), 404, "unknown_strategy"),
        (errors.Conflict("busy", reason="strategy_busy", operation_id="op_1"), 409, "strategy_busy"),
        (errors.WorkspaceUnusable("read-only"), 503, "workspace_unusable"),
        (errors.OperationFailed("broke", reason="too_few_bars"), 500, "too_few_bars"),
    ],
)
def test_every_error_of_the_tree_is_a_problem_document_with_its_code_and_reason(error, status, reason):
    response = _answer_to(error)
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, problem["status"], problem["reason"]) == (status, status, reason)
    assert (problem["detail"], problem["instance"], problem["type"]) == (error.message, "/raise", "about:blank")


def test_every_class_of_the_error_tree_has_a_code_of_its_own_or_of_its_parent():
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    special = {
        errors.StrategyInvalid: lambda: errors.StrategyInvalid(["fault"]),
        errors.AmbiguousId: lambda: errors.AmbiguousId("op_", ["op_a", "op_b"], are_all=True),
        errors.ArtifactsUnavailable: lambda: errors.ArtifactsUnavailable("words", patience_s=1),
        errors.PricingUnknown: lambda: errors.PricingUnknown("model", "provider"),
        errors.BudgetExceeded: lambda: errors.BudgetExceeded("day", needed_usd=0.1, spent_usd=5.0, limit_usd=5.0),
    }
    for kind in classes:
        error = special.get(kind, lambda kind=kind: kind("words"))()
        assert _answer_to(error).json()["reason"] == kind.reason


def test_conflict_names_what_stands_in_the_way_and_an_invalid_strategy_all_its_faults():
    assert _answer_to(errors.Conflict("busy", operation_id="op_1")).json()["operation_id"] == "op_1"
    assert _answer_to(errors.StrategyInvalid(["a: 1", "b: 2"])).json()["faults"] == ["a: 1", "b: 2"]


def test_invalid_body_is_answered_with_every_fault_by_its_path():
    app = FastAPI()
    install_error_handlers(app)

    @app.post("/body")
    def take(body: Body) -> Body:
        return body

    problem = _request(app, "POST", "/body", json={"seed": "many", "names": ["a", 3]}).json()
    assert problem["reason"] == "invalid_request"
    assert [fault.partition(":")[0] for fault in problem["faults"]] == ["seed", "names.1"]
    broken = _request(app, "POST", "/body", content=b"{", headers={"content-type": "application/json"})
    assert (broken.status_code, broken.json()["reason"]) == (422, "invalid_request")


def test_unknown_route_and_method_are_problem_documents_too():
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/here")
    def here() -> None: ...

    assert _request(app, "GET", "/x").json()["reason"] == "route_not_found"
    refused = _request(app, "DELETE", "/here")
    assert (refused.status_code, refused.json()["reason"], refused.headers["allow"]) == (
        405,
        "method_not_allowed",
        "GET",
    )
