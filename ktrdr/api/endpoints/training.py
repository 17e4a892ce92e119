"""`/training`: train a stored strategy by itself."""

from fastapi import APIRouter

from ktrdr.api.composition import Composed
from ktrdr.jobs.launch import start_training
from ktrdr.schemas.operations import OperationDocument
from ktrdr.schemas.problem import Problem
from ktrdr.schemas.strategies import TrainingRequest

router = APIRouter(tags=["training"])


@router.post("/training", status_code=202, responses={404: {"model": Problem}, 409: {"model": Problem}})
def train(composition: Composed, request: TrainingRequest) -> OperationDocument:
    """Start a training of a stored strategy and return its operation."""
    operation = start_training(
        composition.operation_store,
        composition.strategy_store,
        composition.bar_store,
        strategy=request.strategy,
        seed=request.seed,
    )
    return composition.operations.document(operation)
