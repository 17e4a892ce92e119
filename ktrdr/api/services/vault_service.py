"""Exams: what one would be, which were held, and what they say of a strategy."""

from datetime import UTC, datetime

from ktrdr.agents.records import DESIGN_FILE
from ktrdr.api.services.operations_service import OperationsService
from ktrdr.errors import KtrdrError, OperationFailed
from ktrdr.evaluation.candidacy import has_been_looked_at, instruments_of
from ktrdr.evaluation.exam_power import ASSUMED_SHARPES, exam_power, required_psr
from ktrdr.evaluation.exam_report import ExamRecord, exam_file
from ktrdr.evaluation.identity import exam_identity
from ktrdr.evaluation.model_knowledge import SOURCE, knowledge_of
from ktrdr.jobs.evidence_launch import start_exam
from ktrdr.jobs.exam_terms import ExamTerms, exam_terms
from ktrdr.jobs.files import MODEL_FILE
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.schemas.operations import OperationDocument
from ktrdr.schemas.vault import AssumedPower, ExamDocument, ExamList, ExamProspect, KnowledgeDocument
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.store import STRATEGY_FILE


class VaultService:
    """The use-cases behind `/vault`. It reads no sealed bar; only the exam's own process does."""

    def __init__(self, services: LaboratoryServices, operations: OperationsService) -> None:
        self._services = services
        self._operations = operations

    def list(self) -> ExamList:
        """Return all looks of the workspace."""
        ledger = self._services.exams
        exams = ledger.exams()
        return ExamList(
            exams=[self._document(exam) for exam in exams],
            next_required_psr=required_psr(len(exams) + 1),
            faults=[f"row {fault.sequence} {fault.what}" for fault in ledger.verify()],
        )

    def prospect(self, name: str) -> ExamProspect:
        """Return what an exam of a strategy would be; raises as `exam_terms`."""
        terms = exam_terms(self._services, name)
        held = self._services.exams.find(terms.identity)
        look = self._services.exams.count() + 1 if held is None else held.look.number
        sealed = terms.sealed
        return ExamProspect(
            strategy=name,
            look=look,
            required_psr=required_psr(look),
            sealed_bars=sealed.n_bars,
            sealed_first=sealed.first,
            sealed_last=sealed.last,
            sealed_years=sealed.years,
            powers=_powers(terms, look),
            knowledge=_knowledge(terms.designer, sealed.first, sealed.last),
            after_exam=has_been_looked_at(self._services.bars, self._services.exams, terms.instruments),
            exam=None if held is None else self._document(held),
        )

    def open(self, name: str) -> OperationDocument:
        """Start the one exam of a candidate; raises as `start_exam`."""
        return self._operations.document(start_exam(self._services, name))

    def exam_of(self, specification: StrategySpecification) -> ExamDocument | None:
        """Return the exam of exactly this strategy with its present model, under whatever name it was held."""
        if not self._services.exams.count():
            return None
        folder = self._services.strategies.folder(specification.name)
        try:
            held = self._services.exams.find(exam_identity(specification, folder / MODEL_FILE))
        except OperationFailed:
            return None  # no model, so nothing of it can have been examined
        return None if held is None else self._document(held)

    def is_after_exam(self, specification: StrategySpecification) -> bool:
        """Return whether a strategy was stored after a look at its instrument's sealed bars.

        A design says so itself; of a file that somebody brought, its time tells.
        """
        strategies, name = self._services.strategies, specification.name
        design = strategies.read_json(name, DESIGN_FILE)
        if design is not None:
            return design.get("after_exam") is True
        exams = self._services.exams.exams()
        if not exams:
            return False
        stored_at = datetime.fromtimestamp((strategies.folder(name) / STRATEGY_FILE).stat().st_mtime, UTC)
        try:
            own = set(instruments_of(self._services.bars, specification.market.symbols))
        except KtrdrError:
            return False  # its bars are gone
        return any(exam.look.opened_at < stored_at and own & set(exam.look.instruments) for exam in exams)

    def _document(self, exam: ExamRecord) -> ExamDocument:
        look, outcome = exam.look, exam.outcome
        found: dict[str, object] = {
            "strategy": look.strategy,
            "look": look.number,
            "instruments": [*look.instruments],
            "operation_id": look.operation_id,
            "opened_at": look.opened_at,
            "required_psr": required_psr(look.number),
        }
        if outcome is None:
            nothing = ("reason", "psr", "sharpe_ratio", "n_trades", "first", "last", "knowledge", "report")
            return ExamDocument.model_validate({**found, "status": "open", **dict.fromkeys(nothing)})
        return ExamDocument.model_validate(
            {
                **found,
                **outcome.model_dump(exclude={"passed"}),
                "status": "passed" if outcome.passed else "not_passed",
                "knowledge": _knowledge(look.designer, outcome.first, outcome.last),
                "report": str(self._services.settings.vault_folder / exam_file(look.operation_id)),
            }
        )


def _knowledge(designer: str | None, first: datetime, last: datetime) -> KnowledgeDocument:
    known = knowledge_of(designer, first.date(), last.date())
    source = None if known.cutoff is None else SOURCE
    return KnowledgeDocument(standing=known.standing, designer=designer, cutoff=known.cutoff, source=source)


def _powers(terms: ExamTerms, look: int) -> list[AssumedPower]:
    verdict = terms.backtest.verdict
    assumed: list[tuple[str, float]] = [("round", ratio) for ratio in ASSUMED_SHARPES]
    tests = [] if verdict is None else [verdict.net, verdict.market_adjusted]
    ratios = [test.sharpe_ratio for test in tests if test.sharpe_ratio is not None]
    lows = [test.sharpe_ci95[0] for test in tests if test.sharpe_ci95 is not None]
    assumed += [("measured", min(ratios))] if ratios else []
    assumed += [("lower_end", min(lows))] if lows else []
    days_per_year, years = terms.backtest.metrics.days_per_year, terms.sealed.years
    return [
        AssumedPower.model_validate(
            {
                "sharpe_ratio": ratio,
                "assumption": assumption,
                "power": exam_power(ratio, years=years, days_per_year=days_per_year, look=look),
            }
        )
        for assumption, ratio in assumed
    ]
