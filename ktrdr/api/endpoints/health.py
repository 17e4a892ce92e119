"""`/health` and `/ready`, without a prefix: for whoever supervises the server."""

from fastapi import APIRouter

from ktrdr import __version__
from ktrdr.api.composition import Composed
from ktrdr.schemas.health import Health, Readiness
from ktrdr.schemas.problem import Problem

router = APIRouter(tags=["health"])


@router.get("/health")
def health(composition: Composed) -> Health:
    """Say that the process answers, and for which workspace."""
    settings = composition.settings
    return Health(version=__version__, workspace=None if settings.access.token else str(settings.workspace))


@router.get("/ready", responses={503: {"model": Problem}})
def ready(composition: Composed) -> Readiness:
    """Say that the database answers too."""
    composition.operation_store.list(limit=1)
    return Readiness(workers=composition.workers.count_live())
