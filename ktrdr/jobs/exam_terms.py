"""What an exam of a strategy would be: of whom, on how many sealed bars. Reads no sealed bar."""

from dataclasses import dataclass

from ktrdr.backtest.report import BacktestReport
from ktrdr.errors import Conflict, OperationFailed
from ktrdr.evaluation.candidacy import instruments_of, require_candidate, require_enough_sealed, sealed_windows
from ktrdr.evaluation.exam_ledger import LookSubject
from ktrdr.evaluation.exam_report import SealedWindow
from ktrdr.evaluation.identity import exam_identity
from ktrdr.jobs.files import MODEL_FILE
from ktrdr.jobs.services import LaboratoryServices


@dataclass(frozen=True, slots=True)
class ExamTerms:
    """A candidate and the sealed bars it would be examined on."""

    identity: str
    strategy: str
    strategy_sha256: str
    instruments: tuple[str, ...]
    designer: str | None
    backtest: BacktestReport
    sealed: SealedWindow

    def subject(self, operation_id: str) -> LookSubject:
        """Return what the ledger is to keep of a look."""
        return LookSubject(
            identity=self.identity,
            operation_id=operation_id,
            strategy=self.strategy,
            strategy_sha256=self.strategy_sha256,
            instruments=self.instruments,
            designer=self.designer,
        )


def exam_terms(services: LaboratoryServices, name: str) -> ExamTerms:
    """Return the terms of a strategy's exam; whether it has been held is not asked.

    Raises:
        NotFound: No such strategy, or its bars are gone.
        InvalidInput: It is not backtested (`not_backtested`).
        Conflict: It may not sit the exam (`not_a_candidate`, `strategy_changed`, `verdict_unconfirmed`,
            `model_unusable`), or too little is sealed (`no_exam`).
    """
    report = require_candidate(services.strategies, services.ledger, name)
    specification = services.strategies.read(name)
    try:
        identity = exam_identity(specification, services.strategies.folder(name) / MODEL_FILE)
    except OperationFailed as error:
        raise Conflict(error.message, reason=error.reason) from None
    windows = sealed_windows(services.bars, specification, report.window.series_snapshots())
    design = services.strategies.read_json(name, "design.json") or {}
    designer = design.get("model")
    return ExamTerms(
        identity=identity,
        strategy=name,
        strategy_sha256=specification.sha256(),
        instruments=instruments_of(services.bars, specification.market.symbols),
        designer=designer if isinstance(designer, str) else None,
        backtest=report,
        sealed=require_enough_sealed(windows, report.metrics.days_per_year),
    )
