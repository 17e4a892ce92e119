"""The app: one of the two composition roots."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from ktrdr import __version__
from ktrdr.api.access import AccessPolicy
from ktrdr.api.composition import compose
from ktrdr.api.edge import BodyLimits, EdgeMiddleware
from ktrdr.api.endpoints import (
    agent,
    backtests,
    health,
    indicators,
    leaderboard,
    markets,
    metrics,
    operations,
    schedules,
    strategies,
    training,
    vault,
    workers,
)
from ktrdr.api.errors import install_error_handlers
from ktrdr.api.problem_responses import PROBLEMS_OF_EVERY_ROUTE, describe_problems
from ktrdr.api.request_metrics import RequestMetricsMiddleware
from ktrdr.config import Settings

PREFIX = "/api/v1"
MAX_BODY_BYTES = 1024 * 1024
_IMPORT_PATH = f"{PREFIX}/markets/import"


def create_app(settings: Settings, *, is_loopback: bool = True) -> FastAPI:
    """Open the workspace and return the app that serves it. `close_app` gives back what it holds.

    Args:
        settings: Name the workspace, and the token that requests must show.
        is_loopback: Only this machine can reach the app; any other needs a token, which `ktrdr serve` sees to.

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
        responses=PROBLEMS_OF_EVERY_ROUTE,
        telemetry={"tracing": False},
    )
    app.state.composition = composition
    access = settings.access
    app.add_middleware(
        EdgeMiddleware,
        access=AccessPolicy(access.token, is_loopback),
        body_limits=BodyLimits(MAX_BODY_BYTES, {_IMPORT_PATH: access.max_upload_bytes}, access.body_timeout_s),
    )
    # The last one is the outermost.
    app.add_middleware(RequestMetricsMiddleware, registry=composition.metrics.registry, prefix=PREFIX)
    install_error_handlers(app)
    routes = APIRouter(prefix=PREFIX)
    evidence = (leaderboard, vault)
    for module in (
        agent,
        schedules,
        operations,
        strategies,
        training,
        backtests,
        *evidence,
        markets,
        indicators,
        workers,
    ):
        routes.include_router(module.router)
    app.include_router(routes)
    app.include_router(health.router)
    app.include_router(metrics.router)
    describe_problems(app, needs_token=access.token is not None)
    return app


def close_app(app: FastAPI) -> None:
    """Give back what the app holds. Closing twice is fine."""
    app.state.composition.close()
