"""Who may sit the exam, and what is known of the sealed bars before it: how many there are, not one of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from ktrdr.backtest.report import BacktestReport, read_backtest_report
from ktrdr.clock import from_epoch_ms
from ktrdr.errors import Conflict, InvalidInput, OperationFailed
from ktrdr.evaluation.exam_ledger import ExamLedger
from ktrdr.evaluation.exam_power import FEWEST_EXAM_BARS, FEWEST_EXAM_DAYS
from ktrdr.evaluation.exam_report import SealedWindow
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.market.seal import read_manifest, read_marks
from ktrdr.market.store import BarStore
from ktrdr.statistics.returns import calendar_years
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.store import StrategyStore


def require_candidate(strategies: StrategyStore, ledger: TrialLedger, name: str) -> BacktestReport:
    """Return the backtest of a strategy that may sit the exam.

    Raises:
        NotFound: No such strategy.
        InvalidInput: It is not backtested (`not_backtested`).
        Conflict: It is no candidate (`not_a_candidate`), its file was changed since (`strategy_changed`), or the
            trial ledger knows no such verdict (`verdict_unconfirmed`).
    """
    specification = strategies.read(name)
    training, stored = strategies.read_json(name, "training.json"), strategies.read_json(name, "backtest.json")
    if training is None or stored is None:
        raise InvalidInput(
            f"{name} is not backtested, so there is no verdict: `ktrdr train {name}`, `ktrdr backtest {name}`",
            reason="not_backtested",
        )
    if training.get("strategy_sha256") != specification.sha256():
        raise Conflict(
            f"{name}: strategy.yaml was changed since its training; put it back, or train and backtest it again under "
            "another name",
            reason="strategy_changed",
        )
    try:
        report = read_backtest_report(strategies.folder(name) / "backtest.json")
    except OperationFailed as error:
        raise Conflict(error.message, reason=error.reason) from None
    verdict = None if report.verdict is None else report.verdict.value
    if verdict != "candidate":
        raise Conflict(
            f"{name} is {verdict or 'without a verdict'}, and the exam is for candidates: its sealed bars stay sealed. "
            f"`ktrdr strategies show {name}` says what the verdict rests on",
            reason="not_a_candidate",
        )
    if not ledger.has_verdict(specification.sha256(), stored.get("verdict")):
        raise Conflict(
            f"the trial ledger knows no trial of {name} that ended with the verdict in its backtest.json; "
            f"`ktrdr backtest {name}` reaches one that counts",
            reason="verdict_unconfirmed",
        )
    return report


def sealed_windows(
    store: BarStore, specification: StrategySpecification, snapshots: Mapping[str, str]
) -> list[SealedWindow]:
    """Return, per symbol, how many bars are sealed after its snapshot and when; times alone are read.

    Of several symbols those bars count that lie between the latest first sealed bar and the earliest last one.

    Raises:
        NotFound: No such series.
        WorkspaceUnusable: The record of what is sealed cannot be read.
    """
    sealed = []
    for symbol in specification.symbols:
        sidecar = store.sidecar(symbol, specification.timeframe)
        folder = store.series_folder(symbol, sidecar.timeframe)
        sealed.append((sidecar, read_marks(folder, read_manifest(folder, snapshots[symbol]))[0]))
    begin = max((int(opens[0]) for _, opens in sealed if len(opens)), default=0)
    end = min((int(opens[-1]) for _, opens in sealed if len(opens)), default=0)
    windows = []
    for sidecar, opens in sealed:
        label = opens[(opens >= begin) & (opens <= end)]
        if not len(label):
            moment: datetime = sidecar.last
            windows.append(SealedWindow(n_bars=0, first=moment, last=moment, years=0.0))
            continue
        first_ms, last_ms = int(label[0]), int(label[-1])
        years = calendar_years(first_ms, last_ms + sidecar.timeframe.milliseconds)
        first, last = from_epoch_ms(first_ms), from_epoch_ms(last_ms)
        windows.append(SealedWindow(n_bars=len(label), first=first, last=last, years=years))
    return windows


def require_enough_sealed(windows: list[SealedWindow], days_per_year: float) -> SealedWindow:
    """Return the shortest of the windows if an exam on it can say anything.

    Raises:
        Conflict: It cannot (`no_exam`).
    """
    shortest = min(windows, key=lambda window: window.years)
    n_days = shortest.years * days_per_year
    if shortest.n_bars < FEWEST_EXAM_BARS or n_days < FEWEST_EXAM_DAYS:
        raise Conflict(
            f"{shortest.n_bars} bars on about {n_days:.0f} session days are sealed, and an exam needs at least "
            f"{FEWEST_EXAM_BARS} on {FEWEST_EXAM_DAYS}: nothing was looked at. Import later bars, which are sealed too",
            reason="no_exam",
        )
    return shortest


def instruments_of(store: BarStore, symbols: Sequence[str]) -> tuple[str, ...]:
    """Return the instruments behind some symbols, aliases followed, sorted; raises as `BarStore.instrument`."""
    return tuple(sorted({store.instrument(symbol).symbol for symbol in symbols}))


def has_been_looked_at(store: BarStore, exams: ExamLedger, symbols: Sequence[str]) -> bool:
    """Return whether the sealed bars of any of these symbols' instruments were looked at before."""
    looked_at = {instrument for exam in exams.exams() for instrument in exam.look.instruments}
    return bool(looked_at) and not looked_at.isdisjoint(instruments_of(store, symbols))
