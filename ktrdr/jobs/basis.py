"""What an operation began with: it must not go on with another strategy or with other bars."""

from collections.abc import Mapping

from pydantic import JsonValue

from ktrdr.errors import Conflict, NotFound, OperationFailed, StrategyInvalid
from ktrdr.jobs.evaluation_operations import TRAINING
from ktrdr.jobs.same_strategy import require_same_strategy
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.operations.operation import Operation, OperationStatus
from ktrdr.strategy.specification import StrategySpecification


def refuse_changed_basis(services: LaboratoryServices, operation: Operation, strategy: str) -> None:
    """Return if an ended operation would go on with what it began with.

    The snapshot counts until the training has ended: what comes after it uses the training's own, which is kept.

    Raises:
        Conflict: The strategy's file, or the bars, are not the same any more (`strategy_changed`, `data_changed`).
    """
    training_id = operation.metadata.get("training_op_id")
    began = services.ledger.configuration(str(training_id or operation.operation_id)) or {}
    sha256 = began.get("strategy_sha256") or operation.metadata.get("strategy_sha256")
    try:
        specification = services.strategies.read(strategy)
        if isinstance(sha256, str):
            require_same_strategy(specification, sha256)
    except OperationFailed as error:
        raise Conflict(error.message, reason=error.reason) from None
    except (NotFound, StrategyInvalid) as error:
        raise Conflict(
            f"strategy {strategy!r} cannot be read any more: {error.message}", reason="strategy_changed"
        ) from None
    if began.get("kind") == TRAINING and not _is_trained(services, operation, training_id):
        _require_same_bars(services, specification, began)


def _is_trained(services: LaboratoryServices, operation: Operation, training_id: JsonValue) -> bool:
    training = operation if training_id is None else services.operations.get(str(training_id))
    return training.status is OperationStatus.COMPLETED


def _require_same_bars(
    services: LaboratoryServices, specification: StrategySpecification, began: Mapping[str, JsonValue]
) -> None:
    known = began.get("snapshots")
    for symbol in specification.symbols:
        market = f"{symbol} {specification.timeframe}"
        expected = str(known[symbol] if isinstance(known, dict) else began["snapshot"])
        try:
            snapshot = services.bars.series(symbol, specification.timeframe).snapshot
        except NotFound:
            raise Conflict(f"the bars of {market} are gone; import them again", reason="data_changed") from None
        if snapshot != expected:
            raise Conflict(
                f"the bars of {market} were changed since the training began (snapshot {expected[:12]}, now "
                f"{snapshot[:12]}); start again to use the new ones",
                reason="data_changed",
            )
