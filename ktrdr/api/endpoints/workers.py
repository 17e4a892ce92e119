"""`/workers`: who works on what."""

from fastapi import APIRouter

from ktrdr.api.composition import Composed
from ktrdr.schemas.workers import WorkerList

router = APIRouter(prefix="/workers", tags=["workers"])


@router.get("")
def list_workers(composition: Composed) -> WorkerList:
    """Return the workers, alive or silent, with what they run, and what waits in the queues."""
    return composition.workers.list()
