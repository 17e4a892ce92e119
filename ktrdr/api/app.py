"""The app: one of the two composition roots."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from ktrdr import __version__
from ktrdr.api.composition import compose
from ktrdr.api.edge import BodyLimits, EdgeMiddleware
from ktrdr.api.endpoints import (
    agent,
    backtests,
    health,
    indicators,
    markets,
    operations,
    schedules,
    strategies,
    training,
)
from ktrdr.api.errors import install_error_handlers
from ktrdr.api.problem_responses import describe_problems
from ktrdr.config import Settings
from ktrdr.schemas.problem import Problem

PREFIX = "/api/v1"
MAX_BODY_BYTES = 1024 * 1024
MAX_IMPORT_BYTES = 512 * 1024 * 1024
_IMPORT_PATH = f"{PREFIX}/markets/import"


def create_app(settings: Settings) -> FastAPI:
    """Open the workspace and return the app that serves it. `close_app` gives back what it holds.

    Raises:
        WorkspaceUnusable: The folder or the database cannot be used.
    """
    composition = compose(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        close_app(app)

    app = FastAPI(
        title="ktrdr",
        version=__version__,
        description="A laboratory for trading strategies. Errors are problem documents (RFC 9457) with a `reason`.",
        lifespan=lifespan,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=f"{PREFIX}/docs",
        redoc_url=None,
        responses={422: {"model": Problem, "description": "The request is wrong"}},
        telemetry={"tracing": False},
    )
    app.state.composition = composition
    app.add_middleware(EdgeMiddleware, body_limits=BodyLimits(MAX_BODY_BYTES, {_IMPORT_PATH: MAX_IMPORT_BYTES}))
    install_error_handlers(app)
    routes = APIRouter(prefix=PREFIX)
    for module in (agent, schedules, operations, strategies, training, backtests, markets, indicators):
        routes.include_router(module.router)
    app.include_router(routes)
    app.include_router(health.router)
    describe_problems(app)
    return app


def close_app(app: FastAPI) -> None:
    """Give back what the app holds. Closing twice is fine."""
    app.state.composition.close()
