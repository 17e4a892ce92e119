"""`/indicators`: what a strategy file may use."""

from fastapi import APIRouter

from ktrdr.agents.tools import describe_indicators
from ktrdr.schemas.indicators import IndicatorList

router = APIRouter(tags=["indicators"])


@router.get("/indicators")
def list_indicators() -> IndicatorList:
    """Return all indicators with their meanings and the ranges of their parameters."""
    return IndicatorList.model_validate({"indicators": describe_indicators()})
