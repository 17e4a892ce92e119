"""Listing, reading, validating and storing strategies."""

import logging
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from pydantic import JsonValue, ValidationError

from ktrdr.agents.designs import DesignIntake, DesignOrigin
from ktrdr.api.paging import PageOptions, take_page
from ktrdr.api.services.vault_service import VaultService
from ktrdr.artifacts.attempt import fresh_attempt
from ktrdr.artifacts.files import write_bytes_atomically
from ktrdr.clock import Clock
from ktrdr.errors import Conflict, NotFound, StrategyInvalid, WorkspaceUnusable
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.jobs.leak_check import refuse_leaking_strategy
from ktrdr.market.store import BarStore
from ktrdr.report.page import report_page
from ktrdr.schemas.strategies import (
    DesignRequest,
    ResultDocument,
    StrategyDetail,
    StrategyList,
    StrategySummary,
    ValidationReport,
)
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.store import REPORT_FILE, STRATEGY_FILE, StrategyStore
from ktrdr.strategy.validation import parse_strategy

_logger = logging.getLogger(__name__)


class StrategiesService:
    """The use-cases behind `/strategies`."""

    def __init__(
        self,
        strategies: StrategyStore,
        bars: BarStore,
        ledger: TrialLedger,
        intake: DesignIntake,
        vault: VaultService,
        *,
        attempts_folder: Path,
        clock: Clock,
    ) -> None:
        self._strategies = strategies
        self._bars = bars
        self._ledger = ledger
        self._intake = intake
        self._vault = vault
        self._attempts_folder = attempts_folder
        self._clock = clock

    def list(self, page: PageOptions) -> StrategyList:
        """Return a page of stored strategies, newest first; one spoilt by hand is listed with its faults.

        Raises:
            InvalidInput: The cursor is none that a page gave.
        """
        with self._strategies.settled():
            stored = sorted(self._strategies.stored(), key=_newest_first)
            shown, next_cursor = take_page(stored, _newest_first, page)
            return StrategyList(strategies=[self._summary(name) for _, name in shown], next_cursor=next_cursor)

    def summary(self, name: str) -> StrategySummary | None:
        """Return one line of the list, None where there is no strategy of this name."""
        try:
            return self._summary(name)
        except NotFound:
            return None

    def detail(self, name: str) -> StrategyDetail:
        """Return one strategy with everything that was found about it.

        Raises:
            InvalidInput: No strategy can have this name.
            NotFound: There is none of this name.
            StrategyInvalid: Its files were changed by hand into something invalid.
        """
        with self._strategies.settled():
            specification = self._strategies.read(name)
            training = self._strategies.read_json(name, "training.json")
            return StrategyDetail(
                name=name,
                path=str(self._strategies.path(name)),
                sha256=specification.sha256(),
                text=self._strategies.text(name),
                specification=specification.model_dump(mode="json", by_alias=True),
                design=self._strategies.read_json(name, "design.json"),
                training=training,
                backtest=self._strategies.read_json(name, "backtest.json"),
                assessment=self._strategies.read_json(name, "assessment.json"),
                n_trials=self._ledger.count(),
                report_path=self._report_path(name),
                exam=self._vault.exam_of(specification),
                after_exam=self._vault.is_after_exam(specification),
                accepted_findings=[*self._accepted_findings(specification, training)],
            )

    def report(self, name: str) -> str:
        """Return the page about a strategy, made of its files as they are now; it is put beside them as well.

        Raises:
            InvalidInput: No strategy can have this name.
            NotFound: There is none of this name.
            StrategyInvalid: Its files were changed by hand into something invalid.
        """
        page = report_page(self._strategies, self._bars, name)
        try:
            self._strategies.write_report(name, page)
        except OSError as error:  # a full disk keeps nobody from reading
            _logger.warning("the report of %s is not kept: %s", name, error)
        return page

    def validate(self, text: str) -> ValidationReport:
        """Return every fault of a strategy file, which is not stored."""
        try:
            parse_strategy(text)
        except StrategyInvalid as error:
            return ValidationReport(valid=False, faults=error.faults)
        return ValidationReport(valid=True, faults=[])

    def add(self, text: str) -> StrategyDetail:
        """Store a strategy file under the name it gives, and return it.

        Raises:
            StrategyInvalid: The file has faults.
            InvalidInput: Something in it would know the future (`leak_found`). Without its market's bars it is stored,
                and asked again when it is trained.
            Conflict: Another strategy has this name (`name_taken`); storing the same one again is fine.
            WorkspaceUnusable: The folder cannot be written.
        """
        specification = parse_strategy(text)
        name = specification.name
        if not self._strategies.exists(name):
            self._refuse_leaks(specification)
            try:
                self._publish(name, text)
            except OSError as error:
                raise _unwritable(error) from error
        if self._strategies.read(name).sha256() != specification.sha256():
            raise Conflict(
                f"another strategy is stored as {name!r}, and a name is never reused: give yours another name, or "
                "leave the file out to use the stored one",
                reason="name_taken",
            )
        return self.detail(name)

    def _report_path(self, name: str) -> str | None:
        path = self._strategies.path(name) / REPORT_FILE
        return str(path) if path.is_file() else None

    def _refuse_leaks(self, specification: StrategySpecification) -> None:
        try:
            refuse_leaking_strategy(specification, self._bars)
        except NotFound:
            return  # a market is not imported yet

    def _accepted_findings(
        self, specification: StrategySpecification, training: ResultDocument | None
    ) -> Sequence[str]:
        """Return what was wrong with the bars of the training that somebody accepted."""
        if training is None:
            return ()
        snapshots = training.get("snapshots")
        accepted: list[str] = []
        for symbol in specification.symbols:
            try:
                sidecar = self._bars.sidecar(symbol, specification.timeframe)
            except (NotFound, WorkspaceUnusable):
                continue  # the bars are gone; the results stay
            known = snapshots.get(symbol) if isinstance(snapshots, dict) else None
            kinds = sidecar.accepted_findings(str(known or training.get("snapshot")))
            accepted += kinds if len(specification.symbols) == 1 else (f"{symbol}: {kind}" for kind in kinds)
        return accepted

    def add_design(self, request: DesignRequest) -> StrategyDetail:
        """Store a strategy that an agent outside of any cycle designed, and who made it, and return it.

        Raises:
            StrategyInvalid: It has faults.
            NotFound: Its market or a parent strategy is not stored.
            Conflict: It is a near-copy (`near_copy`), its name is used (`name_taken`), or its bars have serious
                findings that nobody accepted (`market_findings`).
            WorkspaceUnusable: The folder cannot be written.
        """
        origin = DesignOrigin(
            model=request.designer,
            prompt_version=None,
            operation_id=None,
            parent_strategies=request.parent_strategies,
            notes=request.notes,
            created_at=self._clock(),
        )
        try:
            return self.detail(self._intake.store(request.strategy, origin).name)
        except OSError as error:
            raise _unwritable(error) from error

    def _publish(self, name: str, text: str) -> None:
        """Put a strategy's folder in place whole, unless somebody else has done so meanwhile."""
        draft = self._attempts_folder / f"{uuid4().hex}_strategy"
        fresh_attempt(draft)
        write_bytes_atomically(draft / STRATEGY_FILE, text.encode())
        try:
            self._strategies.publish_new(name, draft)
        except FileExistsError:
            if not self._strategies.exists(name):
                raise

    def _summary(self, name: str) -> StrategySummary:
        try:
            return self._readable_summary(name)
        except StrategyInvalid as error:
            return StrategySummary(
                name=name,
                hypothesis=None,
                symbols=[],
                timeframe=None,
                accuracy=None,
                sharpe_ratio=None,
                n_trades=None,
                max_drawdown=None,
                verdict=None,
                judgement=None,
                faults=error.faults,
            )

    def _readable_summary(self, name: str) -> StrategySummary:
        specification = self._strategies.read(name)
        training = self._strategies.read_json(name, "training.json")
        backtest = self._strategies.read_json(name, "backtest.json")
        assessment = self._strategies.read_json(name, "assessment.json")
        fields = {
            "name": name,
            "hypothesis": specification.hypothesis,
            "symbols": specification.market.symbols,
            "timeframe": specification.market.timeframe,
            "accuracy": _value(training, "accuracy"),
            "sharpe_ratio": _value(backtest, "metrics", "sharpe_ratio"),
            "n_trades": _value(backtest, "metrics", "n_trades"),
            "max_drawdown": _value(backtest, "metrics", "max_drawdown"),
            "verdict": None if _value(backtest, "verdict") is None else _value(backtest, "verdict", "value"),
            "judgement": _value(assessment, "judgement"),
            "after_exam": self._vault.is_after_exam(specification),
        }
        try:
            return StrategySummary.model_validate(fields)
        except ValidationError as error:
            raise StrategyInvalid(
                [f"{fault['loc'][0]}: {fault['msg']}; a result file was changed" for fault in error.errors()]
            ) from None


def _newest_first(stored: tuple[int, str]) -> tuple[int, str]:
    return -stored[0], stored[1]


def _unwritable(error: OSError) -> WorkspaceUnusable:
    return WorkspaceUnusable(
        f"cannot write {error.filename}: {error.strerror}; check the folder's permissions and free space"
    )


def _value(document: ResultDocument | None, *path: str) -> JsonValue:
    """Return what lies at a path of a result document, None where the phase has not ended."""
    if document is None:
        return None
    value: JsonValue = document
    for key in path:
        if not isinstance(value, dict) or key not in value:
            raise StrategyInvalid([f"{'.'.join(path)}: missing in a result file; it was changed or cut short"])
        value = value[key]
    return value
