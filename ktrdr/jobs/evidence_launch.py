"""Start an exam, or the repetition of a strategy's work."""

from ktrdr.errors import InvalidInput
from ktrdr.evaluation.exam_ledger import already_examined
from ktrdr.jobs.exam_operation import HOLDOUT_EXAM, ExamPayload
from ktrdr.jobs.exam_terms import exam_terms
from ktrdr.jobs.launch import refuse_busy_strategy
from ktrdr.jobs.reproduction_operation import REPRODUCTION, ReproductionPayload
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.operations.operation import Operation
from ktrdr.operations.runtime import COMPUTE_QUEUE
from ktrdr.operations.store import TRIGGER_LOCK


def start_exam(services: LaboratoryServices, strategy: str) -> Operation:
    """Enqueue the one exam of a candidate. The look is counted when a worker begins with it.

    Raises:
        NotFound, InvalidInput, Conflict: As `exam_terms`; it was examined (`already_examined`) or is in use
            (`strategy_busy`).
    """
    terms = exam_terms(services, strategy)
    with services.operations.exclusive_lock(TRIGGER_LOCK):
        held = services.exams.find(terms.identity)
        if held is not None:
            raise already_examined(strategy, held.look, is_over=held.outcome is not None)
        refuse_busy_strategy(services.operations, strategy)
        return services.operations.enqueue(
            HOLDOUT_EXAM,
            queue=COMPUTE_QUEUE,
            payload=ExamPayload(strategy=strategy, identity=terms.identity).model_dump(),
            metadata={"strategy_name": strategy, "strategy_sha256": terms.strategy_sha256},
        )


def start_reproduction(services: LaboratoryServices, strategy: str) -> Operation:
    """Enqueue the repetition of a strategy's training and, where there is one, its backtest. No trial.

    Raises:
        NotFound: No such strategy.
        InvalidInput: It is not trained (`not_trained`).
        Conflict: It is in use (`strategy_busy`).
    """
    services.strategies.read(strategy)
    if services.strategies.read_json(strategy, "training.json") is None:
        raise InvalidInput(
            f"{strategy} is not trained, so there is nothing to reproduce; run `ktrdr train {strategy}` first",
            reason="not_trained",
        )
    with services.operations.exclusive_lock(TRIGGER_LOCK):
        refuse_busy_strategy(services.operations, strategy)
        return services.operations.enqueue(
            REPRODUCTION,
            queue=COMPUTE_QUEUE,
            payload=ReproductionPayload(strategy=strategy).model_dump(),
            metadata={"strategy_name": strategy},
        )
