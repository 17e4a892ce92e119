"""The ranking of what was backtested: by what is left at worst, once the market is taken out."""

from dataclasses import dataclass

from pydantic import ValidationError

from ktrdr.api.paging import PageOptions
from ktrdr.api.services.vault_service import VaultService
from ktrdr.backtest.report import BacktestReport, VerdictReport
from ktrdr.errors import InvalidInput, KtrdrError
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.schemas.vault import Leaderboard, LeaderboardRow
from ktrdr.strategy.specification import StrategySpecification

_BACKTEST = "backtest.json"


@dataclass(frozen=True, slots=True)
class _Ranked:
    specification: StrategySpecification
    report: BacktestReport
    verdict: VerdictReport

    @property
    def low(self) -> float | None:
        interval = self.verdict.market_adjusted.sharpe_ci95
        return None if interval is None else interval[0]


class LeaderboardService:
    """The use-case behind `/leaderboard`."""

    def __init__(self, services: LaboratoryServices, vault: VaultService) -> None:
        self._services = services
        self._vault = vault

    def page(self, options: PageOptions) -> Leaderboard:
        """Return a page of the ranking: the lower end of the Sharpe interval of the market-adjusted return decides.

        Raises:
            InvalidInput: The cursor is none that a page gave, or its strategy is gone (`bad_cursor`).
        """
        ranked, unreadable = self._ranked()
        first = 0
        if options.cursor is not None:
            names = [each.specification.name for each in ranked]
            if options.cursor not in names:
                raise InvalidInput(
                    f"cursor: need the next_cursor of an earlier page, was {options.cursor!r}", reason="bad_cursor"
                )
            first = names.index(options.cursor) + 1
        shown = ranked[first : first + options.limit]
        is_more = first + options.limit < len(ranked)
        ledger, exams = self._services.ledger, self._services.exams
        return Leaderboard(
            rows=[self._row(first + number, each) for number, each in enumerate(shown, start=1)],
            next_cursor=shown[-1].specification.name if is_more else None,
            n_trials=ledger.count(),
            n_looks=exams.count(),
            unreadable=unreadable,
            ledger_faults=[f"row {fault.sequence} {fault.what}" for fault in ledger.verify(exams.trial_heads())],
        )

    def _ranked(self) -> tuple[list[_Ranked], list[str]]:
        found, unreadable = [], []
        strategies = self._services.strategies
        with strategies.settled():
            for name in strategies.names():
                try:
                    document = strategies.read_json(name, _BACKTEST)
                    if document is None:
                        continue
                    specification, report = strategies.read(name), BacktestReport.model_validate(document)
                except (KtrdrError, ValidationError):
                    unreadable.append(name)
                    continue
                if report.verdict is not None:
                    found.append(_Ranked(specification, report, report.verdict))
        found.sort(key=lambda each: (each.low is None, -(each.low or 0.0), each.specification.name))
        return found, unreadable

    def _row(self, rank: int, ranked: _Ranked) -> LeaderboardRow:
        specification, verdict = ranked.specification, ranked.verdict
        exam = self._vault.exam_of(specification)
        is_proven = exam is not None and exam.status == "passed"
        return LeaderboardRow(
            rank=rank,
            name=specification.name,
            symbols=[*specification.market.symbols],
            timeframe=specification.timeframe.value,
            verdict="proven" if is_proven else verdict.value,
            sharpe_low=ranked.low,
            sharpe_ratio=verdict.market_adjusted.sharpe_ratio,
            net_sharpe_ratio=verdict.net.sharpe_ratio,
            psr=verdict.psr,
            n_trades=verdict.n_trades,
            n_trials=verdict.n_trials,
            exam=exam,
            after_exam=self._vault.is_after_exam(specification),
        )
