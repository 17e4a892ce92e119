"""Start a training or a backtest that is not part of a cycle."""

import logging
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from ktrdr.errors import Conflict, InvalidInput
from ktrdr.jobs.evaluation_operations import BACKTESTING, TRAINING, BacktestPayload, TrainingPayload
from ktrdr.jobs.exam_operation import HOLDOUT_EXAM
from ktrdr.jobs.leak_check import refuse_leaking_strategy
from ktrdr.jobs.reproduction_operation import REPRODUCTION
from ktrdr.market.store import BarStore
from ktrdr.operations.lineage import log_subject
from ktrdr.operations.operation import Operation
from ktrdr.operations.runtime import COMPUTE_QUEUE
from ktrdr.operations.store import OperationStore
from ktrdr.strategy.store import StrategyStore
from ktrdr.strategy.variants import Value, expand_grid, parse_axes
from ktrdr.telemetry.logs import logging_about

DEFAULT_TRAINING_SEED = 1
_logger = logging.getLogger(__name__)


def start_training(
    operations: OperationStore, strategies: StrategyStore, bars: BarStore, *, strategy: str, seed: int | None
) -> Operation:
    """Enqueue the training of a stored strategy.

    Raises:
        NotFound: No such strategy, or no bars of one of its symbols in its timeframe.
        InvalidInput: Something in it would know the future (`leak_found`).
        Conflict: It is being trained or backtested already (`strategy_busy`), or the bars have serious findings that
            nobody accepted (`market_findings`).
    """
    specification = strategies.read(strategy)
    for symbol in specification.symbols:
        bars.research_series(symbol, specification.timeframe)
    refuse_leaking_strategy(specification, bars)
    refuse_busy_strategy(operations, strategy)
    payload = TrainingPayload(
        strategy=strategy,
        strategy_sha256=specification.sha256(),
        seed=DEFAULT_TRAINING_SEED if seed is None else seed,
        part_of_cycle=False,
    )
    return _enqueue(operations, TRAINING, payload, _metadata(strategy, payload.seed))


def start_backtest(
    operations: OperationStore,
    strategies: StrategyStore,
    *,
    strategy: str,
    sweep: Mapping[str, str | Sequence[Value]] | None = None,
    max_variants: int,
) -> Operation:
    """Enqueue the backtest of a trained strategy, or of its variants with these values of `decision` and `risk`.

    Raises:
        NotFound: No such strategy.
        InvalidInput: It is not trained (`not_trained`), or the variants cannot be (`sweep_invalid`, `sweep_too_large`):
            none of them was counted.
        Conflict: It is being trained or backtested already (`strategy_busy`).
    """
    specification = strategies.read(strategy)
    if strategies.read_json(strategy, "training.json") is None:
        raise InvalidInput(
            f"{strategy} is not trained, so there is nothing to backtest; run `ktrdr train {strategy}` first",
            reason="not_trained",
        )
    refuse_busy_strategy(operations, strategy)
    if sweep is None:
        return _enqueue(
            operations, BACKTESTING, BacktestPayload(strategy=strategy, trial_id=None), _metadata(strategy, None)
        )
    axes = parse_axes(sweep, most=max_variants)
    n_variants = len(expand_grid(specification, axes).variants)
    payload = BacktestPayload(strategy=strategy, trial_id=None, strategy_sha256=specification.sha256(), sweep=axes)
    metadata = {**_metadata(strategy, None), "strategy_sha256": specification.sha256(), "n_variants": n_variants}
    return _enqueue(operations, BACKTESTING, payload, metadata)


def refuse_busy_strategy(operations: OperationStore, strategy: str) -> None:
    """Keep one operation from writing the files of a strategy that another writes or reads.

    Raises:
        Conflict: One does so now.
    """
    for operation_type in (TRAINING, BACKTESTING, HOLDOUT_EXAM, REPRODUCTION):
        for operation in operations.active(operation_type):
            if operation.metadata.get("strategy_name") == strategy:
                raise Conflict(
                    f"{strategy} is in use by {operation.operation_id}; wait for it or cancel it",
                    reason="strategy_busy",
                    operation_id=operation.operation_id,
                )


def _enqueue(
    operations: OperationStore,
    operation_type: str,
    payload: TrainingPayload | BacktestPayload,
    metadata: dict[str, JsonValue],
) -> Operation:
    operation = operations.enqueue(operation_type, queue=COMPUTE_QUEUE, payload=payload.model_dump(), metadata=metadata)
    with logging_about(log_subject(operations, operation)):
        _logger.info("operation %s was asked for: %s", operation.operation_id, payload.strategy)
    return operation


def _metadata(strategy: str, seed: int | None) -> dict[str, JsonValue]:
    return {"strategy_name": strategy} if seed is None else {"strategy_name": strategy, "seed": seed}
