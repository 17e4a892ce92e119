"""`/metrics`, without a prefix: for Prometheus."""

from fastapi import APIRouter, Response

from ktrdr.api.composition import Composed
from ktrdr.api.services.metrics_service import MEDIA_TYPE

router = APIRouter(tags=["health"])


@router.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
async def metrics(composition: Composed) -> Response:
    """Return all metrics in Prometheus's text format; where the database is away, those that do not need it."""
    return Response(await composition.metrics.scrape(), media_type=MEDIA_TYPE)
