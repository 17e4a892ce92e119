"""One adaptive search: the offline designer follows what worked, and its best find is swept for better rules."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from benchmarks.honesty.laboratory import Laboratory, Trial
from benchmarks.honesty.noise import KINDS
from ktrdr.errors import KtrdrError
from ktrdr.evaluation.exam_power import required_psr
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.validation import validate_strategy

FEWEST_TRIALS, MOST_TRIALS = 20, 60
SWEPT_AT_ONCE = 6
_MOST_REDESIGNS = 8
_MOST_ROUNDS = 20
_FIXED_PSR = 0.95


@dataclass(slots=True)
class SearchRecord:
    """What one search came to; as a line of the results.

    Attributes:
        number: Its number in the run; kind and every draw follow from it and the run's seed.
        kind: Of noise.
        source: What the noise was made from.
        n_designs: Designs that could be trained.
        n_trials: All trials, sweeps' variants and failures included.
        n_counted: What the ledger says; the same, or the search is faulty.
        failures: Reason slugs of the trials that failed.
        n_candidates: Trials whose verdict was `candidate`.
        exams: PSR on sealed bars and what the look had to show, look by look (null: it did not trade).
        is_proven: Whether any exam was passed.
        uncounted_exams: The same of a laboratory that counts no trials: there every new best trial that would be a
            candidate, had it been the only one, is looked at.
        best_sharpe: Of all trials, out of sample.
        naive_psr: Of that trial's net returns, as if it were the only one.
        is_candidate_alone: Whether any trial would have been a candidate with no trial counted but itself.
        faults: What is wrong with the ledgers, and why the search ended before its time.
        seconds: How long it took.
    """

    number: int
    kind: str
    source: str
    n_designs: int = 0
    n_trials: int = 0
    n_counted: int = 0
    failures: list[str] = field(default_factory=list)
    n_candidates: int = 0
    exams: list[tuple[float | None, float]] = field(default_factory=list)
    is_proven: bool = False
    uncounted_exams: list[tuple[float | None, float]] = field(default_factory=list)
    best_sharpe: float | None = None
    naive_psr: float = 0.0
    is_candidate_alone: bool = False
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_naively_found(self) -> bool:
        """Whether a laboratory that counts no trials would have believed its best one."""
        return self.naive_psr >= _FIXED_PSR

    @property
    def is_passed_at_a_fixed_bar(self) -> bool:
        """Whether any exam would have been passed at 95 %, however many looks were taken."""
        return any(psr is not None and psr >= _FIXED_PSR for psr, _ in self.exams)

    @property
    def is_passed_uncounted(self) -> bool:
        """Whether the laboratory that counts neither trials nor looks ends with a claim: its exams are at 95 %."""
        return any(psr is not None and psr >= _FIXED_PSR for psr, _ in self.uncounted_exams)

    @property
    def is_passed_by_the_vault_alone(self) -> bool:
        """Whether the laboratory that counts no trials ends with a claim if the bar of its exams rises with each."""
        return any(psr is not None and psr >= needed for psr, needed in self.uncounted_exams)

    def document(self) -> dict[str, object]:
        """Return the record as JSON has it."""
        return asdict(self)


class _Search:
    """One search on one laboratory: rounds of a design and a sweep around the best trial so far."""

    def __init__(self, laboratory: Laboratory, rng: np.random.Generator, record: SearchRecord) -> None:
        self._laboratory = laboratory
        self._rng = rng
        self._record = record
        self._best: Trial | None = None

    def run(self, n_trials: int, n_designs: int) -> None:
        """Try until so many trials have a verdict; those that failed are counted on top."""
        a_round = n_trials // n_designs
        for _ in range(_MOST_ROUNDS):
            if self._n_judged >= n_trials:
                break
            end = min(self._n_judged + a_round, n_trials)
            self._design()
            while self._best is not None and self._n_judged < end:
                self._sweep(self._best, min(SWEPT_AT_ONCE, end - self._n_judged))

    @property
    def _n_judged(self) -> int:
        return self._record.n_trials - len(self._laboratory.failures)

    def _design(self) -> None:
        """Design until one can be trained; those that cannot are trials too, and a search may consist of them."""
        for _ in range(_MOST_REDESIGNS):
            specification = self._laboratory.design(int(self._rng.integers(2**31)))
            if specification is None:
                continue  # of this seed's ideas none leaves enough to learn from
            self._record.n_trials += 1
            trial = self._laboratory.try_design(specification, seed=int(self._rng.integers(2**31)))
            if trial is not None:
                self._record.n_designs += 1
                self._consider([trial])
                return

    def _sweep(self, centre: Trial, n_variants: int) -> None:
        specification = centre.trained.specification
        trials = []
        for _ in range(n_variants):
            self._record.n_trials += 1
            variant = near(specification, self._rng, f"{specification.name[:54]}_{self._record.n_trials:03d}")
            trials.append(self._laboratory.try_variant(centre.trained, variant))
        self._consider(trials)

    def _consider(self, trials: list[Trial | None]) -> None:
        """Take every candidate to its exam, and the best trial as the middle of the next sweep."""
        for trial in trials:
            if trial is None:
                continue
            self._record.is_candidate_alone |= trial.alone == "candidate"
            if self._best is None or trial.sharpe_ratio > self._best.sharpe_ratio:
                self._best = trial
                ratio = trial.outcome.report.metrics.sharpe_ratio
                self._record.best_sharpe, self._record.naive_psr = ratio, trial.psr_alone
                if trial.alone == "candidate":
                    look = len(self._record.uncounted_exams) + 1
                    outcome = self._laboratory.examine_uncounted(trial, look=look).outcome
                    self._record.uncounted_exams.append((outcome.psr, outcome.required_psr))
            if trial.verdict.value == "candidate":
                self._record.n_candidates += 1
                self._examine(trial)

    def _examine(self, trial: Trial) -> None:
        exam = self._laboratory.examine(trial)
        if exam is None:
            return
        assert exam.outcome.required_psr == required_psr(len(self._record.exams) + 1), "the bar did not rise"
        self._record.exams.append((exam.outcome.psr, exam.outcome.required_psr))
        self._record.is_proven |= exam.outcome.passed


def near(specification: StrategySpecification, rng: np.random.Generator, name: str) -> StrategySpecification:
    """Return the same strategy with other rules of decision and risk, drawn near its own."""
    document = specification.document()
    decision, risk = document["decision"], document["risk"]
    enter = float(np.clip(decision["enter"] + rng.normal(0, 0.01), 0.5, 0.7))
    decision["enter"] = round(enter, 4)
    decision["exit"] = round(float(np.clip(decision["exit"] + rng.normal(0, 0.01), 0.3, enter)), 4)
    decision["direction"] = str(rng.choice([decision["direction"], "both", "long", "short"]))
    for place in ("stop_loss", "take_profit"):
        if risk.get(place) is not None:
            risk[place] = round(float(np.clip(risk[place] * np.exp(rng.normal(0, 0.25)), 0.5, 20)), 2)
    if risk.get("max_holding_bars") is not None:
        risk["max_holding_bars"] = max(2, round(risk["max_holding_bars"] * np.exp(rng.normal(0, 0.25))))
    return validate_strategy({**document, "name": name})


def run_search(
    seed: int, number: int, *, n_designs: int, fewest: int = FEWEST_TRIALS, most: int = MOST_TRIALS
) -> SearchRecord:
    """Run search `number` of the run with this seed, in a workspace of its own that is removed afterwards.

    Args:
        seed: Of the run.
        number: Every draw follows from it and the seed.
        n_designs: Rounds of a design and a sweep.
        fewest: Trials with a verdict, at least.
        most: And at most.
    """
    started = perf_counter()
    rng = np.random.default_rng([seed, number])
    market = list(KINDS.values())[number % len(KINDS)](rng)
    record = SearchRecord(number, market.kind, market.source)
    with TemporaryDirectory() as folder:
        laboratory = Laboratory(Path(folder), market)
        search = _Search(laboratory, rng, record)
        try:
            search.run(int(rng.integers(fewest, most + 1)), n_designs)
        except KtrdrError as error:  # it counts as a search, and the run goes on
            record.faults.append(f"ended early: {type(error).__name__}: {error.message}")
        record.n_counted, record.failures = laboratory.ledger.count(), laboratory.failures
        record.faults += [f"{fault.sequence} {fault.what}" for fault in laboratory.faults()]
        if laboratory.ledger.unclosed():
            record.faults.append("trials without an outcome")
        laboratory.close()
    record.seconds = round(perf_counter() - started, 2)
    return record
