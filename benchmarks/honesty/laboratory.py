"""A workspace in this process: what the operations of a cycle call, without queues, child processes and gates."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from benchmarks.honesty.noise import NoiseMarket
from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.memory import StrategyMemory
from ktrdr.agents.offline import OFFLINE_MODEL, OFFLINE_VERSION
from ktrdr.agents.offline_designer import design
from ktrdr.agents.save_permit import SavePermit
from ktrdr.agents.task import AgentTask
from ktrdr.agents.tools import SAVE_STRATEGY_CONFIG
from ktrdr.artifacts.attempt import fresh_attempt
from ktrdr.artifacts.files import write_bytes_atomically
from ktrdr.backtest import baselines
from ktrdr.backtest.artifacts import write_backtest
from ktrdr.backtest.market_beta import measure_market_betas
from ktrdr.backtest.outcome import BacktestOutcome
from ktrdr.backtest.report import TrialHistory, VerdictReport
from ktrdr.backtest.run import run_backtest
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.database.tables import create_tables
from ktrdr.errors import Conflict, OperationFailed
from ktrdr.evaluation.candidacy import has_been_looked_at
from ktrdr.evaluation.exam_ledger import ExamLedger
from ktrdr.evaluation.exam_report import ExamReport
from ktrdr.evaluation.hash_chain import ChainFault
from ktrdr.evaluation.holdout import hold_exam
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.evaluation.verdict import CONFIDENCE, reach_verdict
from ktrdr.jobs.exam_terms import exam_terms
from ktrdr.jobs.files import BACKTEST_FILES, MODEL_FILE, TRAINING_FILES
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.jobs.stores import open_job_stores
from ktrdr.market.importer import import_file
from ktrdr.market.request import ImportOptions
from ktrdr.operations.operation import OperationPage
from ktrdr.operations.store import OperationStore
from ktrdr.statistics.luck import estimate_sharpe, probabilistic_sharpe
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.store import STRATEGY_FILE
from ktrdr.strategy.validation import parse_strategy, to_yaml
from ktrdr.training.artifacts import write_training
from ktrdr.training.model import read_model
from ktrdr.training.train import TrainingOutcome, train_strategy

FloatArray = NDArray[np.float64]

SYMBOL, TIMEFRAME = "NOISE", "1d"
_N_SHIFTS = 1  # the nulls take no part in a verdict
_N_RANDOM_ENTRIES = 20  # nor do the random entries


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A strategy with what its training left."""

    specification: StrategySpecification
    outcome: TrainingOutcome


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One trial that got as far as a verdict. `psr_alone`: that of its net returns, as if nothing else had been tried.

    `alone`: the verdict's value, had it been the only trial.
    """

    trial_id: str
    trained: Trained
    outcome: BacktestOutcome
    verdict: VerdictReport
    psr_alone: float
    alone: str

    @property
    def sharpe_ratio(self) -> float:
        """Out of sample; minus infinity where nothing was traded."""
        ratio = self.outcome.report.metrics.sharpe_ratio
        return -np.inf if ratio is None else ratio


class _NoCycles:
    """No cycle ran: what was tried is in the strategies' folders."""

    def list(self, *, type: str | None = None, limit: int = 50, cursor: str | None = None) -> OperationPage:
        return OperationPage([], None)


class _OneSeedTools(ToolExecutor):
    """The designer's tools; what it saves is trained with one network a fold instead of three."""

    def execute(self, tool_name: str, arguments: Mapping[str, object], permit: SavePermit | None = None) -> str:
        strategy = arguments.get("strategy")
        if tool_name == SAVE_STRATEGY_CONFIG and isinstance(strategy, dict):
            strategy = {**strategy, "training": {**strategy["training"], "seeds": 1}}
            arguments = {**arguments, "strategy": strategy}
        return super().execute(tool_name, arguments, permit)


class Laboratory:
    """One workspace with one market, its own ledgers and its own sealed bars; there are no costs."""

    def __init__(self, workspace: Path, market: NoiseMarket) -> None:
        self.settings = load_settings({"KTRDR_WORKSPACE": str(workspace)})
        workspace.mkdir(parents=True, exist_ok=True)
        self._database = open_database(self.settings.database_url)
        create_tables(self._database)
        self._services = LaboratoryServices(
            settings=self.settings,
            clock=utc_now,
            operations=OperationStore(self._database, utc_now),
            stores=open_job_stores(self.settings),
            ledger=TrialLedger(self._database, utc_now),
            exams=ExamLedger(self._database, utc_now),
        )
        self._import(workspace, market)
        self.bars = self._services.bars.load_research(SYMBOL, TIMEFRAME)
        self._costs = self._services.bars.series(SYMBOL, TIMEFRAME).costs
        # Both are reported beside a verdict and decide nothing, and a thousand are most of a backtest's time.
        baselines.N_RANDOM_ENTRIES = _N_RANDOM_ENTRIES
        self.failures: list[str] = []
        self._n_asked = 0

    @property
    def ledger(self) -> TrialLedger:
        """Return the ledger of trials."""
        return self._services.ledger

    def close(self) -> None:
        """Give back the database."""
        self._database.close()

    def faults(self) -> list[ChainFault]:
        """Return what is wrong with either ledger."""
        exams = self._services.exams
        return [*self.ledger.verify(exams.trial_heads()), *exams.verify()]

    def design(self, seed: int) -> StrategySpecification | None:
        """Let the offline designer store its next strategy; None where it finds none."""
        services = self._services
        tools = _OneSeedTools(
            operation_id=f"op_agent_design_20260101_000000_{len(services.strategies.names()):06x}",
            role="designer",
            model=OFFLINE_MODEL,
            prompt_version=OFFLINE_VERSION,
            bars=services.bars,
            strategies=services.strategies,
            recent=StrategyMemory(_NoCycles(), services.strategies).recent,
            attempts_folder=self.settings.attempts_folder,
            clock=services.clock,
            is_examined=partial(has_been_looked_at, services.bars, services.exams),
        )
        design(AgentTask(role="designer", brief=None, seed=seed), tools)
        return None if tools.saved_strategy is None else services.strategies.read(tools.saved_strategy)

    def add(self, text: str) -> StrategySpecification:
        """Store a strategy of one's own."""
        specification = parse_strategy(text)
        attempt = self._attempt(specification)
        self._services.strategies.publish_new(specification.name, attempt)
        return specification

    def try_design(self, specification: StrategySpecification, *, seed: int) -> Trial | None:
        """Train a stored strategy and judge it, as one trial; None where either fails, which is counted too."""
        trial_id = self._open(specification, seed=seed)
        try:
            outcome = train_strategy(
                specification, self.bars, seed=seed, on_progress=lambda *_: None, n_shifts=_N_SHIFTS
            )
            trial = self._judge(trial_id, Trained(specification, outcome))
        except OperationFailed as error:
            self._fail(trial_id, error)
            return None
        self._store(trial)
        return trial

    def try_variant(self, trained: Trained, specification: StrategySpecification) -> Trial | None:
        """Judge other rules of decision and risk on networks that are trained already, as a trial of its own."""
        trial_id = self._open(specification, seed=trained.outcome.report.seed)
        # What a training of the variant would give, bit for bit: neither rules nor names enter it.
        named = {"strategy_sha256": specification.sha256()}
        model = trained.outcome.model
        outcome = replace(
            trained.outcome,
            report=trained.outcome.report.model_copy(update=named),
            model=replace(model, description=model.description.model_copy(update=named)),
        )
        try:
            return self._judge(trial_id, Trained(specification, outcome))
        except OperationFailed as error:
            self._fail(trial_id, error)
            return None

    def examine(self, trial: Trial) -> ExamReport | None:
        """Let a candidate sit its one exam; None where there is none, or it has had it.

        Raises:
            Conflict: It is no candidate, or not what the ledger knows.
        """
        services, specification = self._services, trial.trained.specification
        if not services.strategies.exists(specification.name):
            services.strategies.publish_new(specification.name, self._attempt(specification))
            self._store(trial)
        terms = exam_terms(services, specification.name)
        try:
            self._n_asked += 1  # each time another operation, to which the ledger owes nothing
            operation_id = f"op_holdout_exam_20260101_000000_{self._n_asked:06x}"
            look = services.exams.open_look(terms.subject(operation_id), trial_head=self.ledger.head())
        except Conflict as error:
            if error.reason == "already_examined":
                return None
            raise
        model = read_model(services.strategies.folder(specification.name) / MODEL_FILE)
        exam = hold_exam(specification, model, services.bars, identity=terms.identity, look=look)
        services.exams.close_look(terms.identity, exam.outcome.model_dump(mode="json"))
        return exam

    def examine_uncounted(self, trial: Trial, *, look: int) -> ExamReport:
        """Return what an exam of any trial would say, candidate or not: for the controls, and in no ledger."""
        trained = trial.trained
        return hold_exam(
            trained.specification, trained.outcome.model, self._services.bars, identity=trial.trial_id, look=look
        )

    def _import(self, workspace: Path, market: NoiseMarket) -> None:
        path = workspace / "noise.parquet"
        market.frame.write_parquet(path)
        options = ImportOptions(
            symbol=SYMBOL, timeframe=TIMEFRAME, calendar=market.calendar, price_side="trade", accept_findings=True
        )
        info = import_file(self._services.bars, path, options).series
        path.unlink()
        sidecar = self._services.bars.series_folder(SYMBOL, self._services.bars.sidecar(SYMBOL, TIMEFRAME).timeframe)
        document = json.loads((sidecar / "series.json").read_bytes())
        document["costs"] = dict.fromkeys(document["costs"], 0.0)
        (sidecar / "series.json").write_text(json.dumps(document))
        assert info.n_bars < market.frame.height, "nothing was sealed"

    def _open(self, specification: StrategySpecification, *, seed: int) -> str:
        trial_id = f"{self.ledger.count() + 1:06x}"
        configuration: dict[str, JsonValue] = {
            "kind": "training",
            "strategy": specification.name,
            "strategy_sha256": specification.sha256(),
            "configuration_sha256": specification.configuration_sha256(),
            "symbol": SYMBOL,
            "timeframe": TIMEFRAME,
            "snapshot": self.bars.snapshot,
            "seed": seed,
        }
        self.ledger.open_trial(trial_id, configuration)
        return trial_id

    def _fail(self, trial_id: str, error: OperationFailed) -> None:
        self.ledger.close_trial(trial_id, {"outcome": f"failed:{error.reason}"})
        self.failures.append(error.reason)

    def _judge(self, trial_id: str, trained: Trained) -> Trial:
        specification, training = trained.specification, trained.outcome
        probability, fold = training.predictions.by_bar(len(self.bars))
        seed = training.report.seed
        outcome = run_backtest(specification, self.bars, probability, fold, self._costs, seed=seed)
        fitted = training.fitted_predictions.of_folds(len(self.bars))
        betas = measure_market_betas(specification, self.bars, fitted, self._costs)
        verdict = reach_verdict(outcome, betas, self.ledger.history(trial_id), seed=seed)
        outcome = outcome.with_verdict(verdict)
        document = outcome.report.model_dump(mode="json", include={"metrics", "verdict"})
        self.ledger.close_trial(trial_id, {"outcome": "backtested", **document})
        estimate = estimate_sharpe(outcome.equity.daily_returns().net_return)
        psr_alone = 0.0 if estimate is None else probabilistic_sharpe(estimate, 0.0)
        alone = verdict.value
        if alone == "inconclusive" and psr_alone >= CONFIDENCE:
            alone = reach_verdict(outcome, betas, TrialHistory(n_trials=1), seed=seed).value
        return Trial(trial_id, trained, outcome, verdict, psr_alone, alone)

    def _store(self, trial: Trial) -> None:
        name, attempt = trial.trained.specification.name, self.settings.attempts_folder / trial.trial_id
        fresh_attempt(attempt)
        write_training(attempt, trial.trained.outcome, self.bars)
        write_backtest(attempt, trial.outcome)
        self._services.strategies.publish(name, attempt, (*TRAINING_FILES, *BACKTEST_FILES))

    def _attempt(self, specification: StrategySpecification) -> Path:
        attempt = self.settings.attempts_folder / f"new_{specification.name}"
        fresh_attempt(attempt)
        write_bytes_atomically(attempt / STRATEGY_FILE, to_yaml(specification).encode())
        return attempt
