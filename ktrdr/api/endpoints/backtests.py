"""`/backtests`: backtest a trained strategy by itself."""

from fastapi import APIRouter

from ktrdr.api.composition import Composed
from ktrdr.jobs.launch import start_backtest
from ktrdr.schemas.operations import OperationDocument
from ktrdr.schemas.problem import Problem
from ktrdr.schemas.strategies import BacktestRequest

router = APIRouter(tags=["backtests"])


@router.post("/backtests", status_code=202, responses={404: {"model": Problem}, 409: {"model": Problem}})
def backtest(composition: Composed, request: BacktestRequest) -> OperationDocument:
    """Start a backtest on a strategy's own out-of-sample predictions, or a sweep of its variants; return its operation.

    Of a sweep every variant counts as a trial. One that is no valid strategy, or more variants than
    `KTRDR_SWEEP_MAX_VARIANTS`, are refused before anything is counted.
    """
    operation = start_backtest(
        composition.operation_store,
        composition.strategy_store,
        strategy=request.strategy,
        sweep=request.sweep,
        max_variants=composition.settings.max_sweep_variants,
    )
    return composition.operations.document(operation)
