"""A candidate's way to its one exam: nothing shows the sealed bars before, and nothing that agents read after."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import httpx
import pytest
from planted_market import STRATEGY, import_planted

from ktrdr.agents.memory import StrategyMemory
from ktrdr.agents.overview import history_overview, markets_overview
from ktrdr.agents.prompts import assessor_prompt, designer_prompt
from ktrdr.agents.task import AssessmentContext
from ktrdr.agents.tools import MarketListing
from ktrdr.api.app import close_app, create_app
from ktrdr.backtest.report import TrialHistory, read_backtest_report
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.evaluation.candidacy import sealed_windows
from ktrdr.jobs.backtest_job import BacktestJobRequest, backtest_in
from ktrdr.jobs.training_job import TrainingJobRequest, train_in
from ktrdr.mcp.calls import Call, get_strategy
from ktrdr.mcp.shapes import StrategyArguments
from ktrdr.telemetry.stopwatch import Stopwatch
from ktrdr.training.report import read_training_report

API, NAME = "/api/v1", "undone_moves"


class Laboratory:
    """A workspace with the planted market, its app in this process, and workers when they are wanted."""

    def __init__(self, folder, sealed_seed):
        self.folder = folder
        import_planted(folder, sealed_seed=sealed_seed)
        self.settings = load_settings({"KTRDR_WORKSPACE": str(folder)})
        self.app = create_app(self.settings)
        self.composition = self.app.state.composition
        self.workers = []

    def request(self, method, path, **options):
        async def exchange():
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=None) as http:
                return await http.request(method, f"{API}{path}", **options)

        return asyncio.run(exchange())

    def get(self, path):
        return self.request("GET", path).json()

    def train_and_backtest(self):
        """Store the strategy and do in this process what its jobs do; no trial is counted."""
        self.request("POST", "/strategies", content=STRATEGY.encode(), headers={"content-type": "application/yaml"})
        folder = self.composition.strategy_store.folder(NAME)
        sha256 = self.composition.strategy_store.read(NAME).sha256()
        snapshot = self.composition.bar_store.series("PLANTED", "1d").snapshot
        train_in(
            self.settings,
            TrainingJobRequest(
                strategy=NAME,
                strategy_sha256=sha256,
                snapshot=snapshot,
                seed=3,
                operation_id="training",
                attempt=str(folder),
            ),
            lambda *_: None,
            Stopwatch(utc_now),
        )
        request = BacktestJobRequest(
            strategy=NAME, trial_id="trial", attempt=str(folder), history=TrialHistory(n_trials=1), other_returns=[]
        )
        backtest_in(self.settings, request, lambda *_: None, Stopwatch(utc_now))
        return folder

    def seen(self):
        """Everything that a person or an agent may be shown, by where it is shown."""
        routes = ["/strategies", f"/strategies/{NAME}", "/markets", "/markets/quality", "/agent/memory"]
        routes += ["/agent/status", "/leaderboard", "/vault", f"/vault/{NAME}", "/operations", "/indicators"]
        shown = {route: self.request("GET", route).text for route in routes}
        strategies = self.composition.strategy_store
        markets = [MarketListing.of(info) for info in self.composition.bar_store.list_for_research()]
        recent = StrategyMemory(self.composition.operation_store, strategies).recent(40)
        folder = strategies.folder(NAME)
        subject = AssessmentContext(
            specification=strategies.read(NAME),
            training=read_training_report(folder / "training.json"),
            backtest=read_backtest_report(folder / "backtest.json"),
            gates=(),
            n_trials=1,
        )
        shown["designer"] = designer_prompt(None, markets_overview(markets), history_overview(recent)).user
        shown["assessor"] = assessor_prompt(subject, None).user
        return {place: text.replace(str(self.folder), "") for place, text in shown.items()}

    def sealed_windows(self):
        bars, strategies = self.composition.bar_store, self.composition.strategy_store
        return sealed_windows(bars, strategies.read(NAME), {"PLANTED": bars.series("PLANTED", "1d").snapshot})

    def files(self):
        """Every file but the sealed bars themselves and the database, with its bytes."""
        paths = [path for path in self.folder.rglob("*") if path.is_file() and "sealed" not in path.parts]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths if "state.sql" not in path.name}

    def start_worker(self):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("KTRDR_")}
        command = [sys.executable, "-m", "ktrdr.worker", "--no-schedules"]
        worker = subprocess.Popen(
            command,
            env={**environment, "KTRDR_WORKSPACE": str(self.folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.workers.append(worker)
        return worker

    def ended(self, operation):
        """Return an operation at its end."""
        deadline = time.monotonic() + 60
        while (found := self.get(f"/operations/{operation['operation_id']}"))["status"] not in ("completed", "failed"):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found

    def close(self):
        for worker in self.workers:
            worker.kill()
            worker.wait()
        close_app(self.app)


@pytest.fixture
def open_laboratory(tmp_path):
    laboratories = []

    def open_one(name, sealed_seed):
        laboratories.append(Laboratory(tmp_path / name, sealed_seed))
        return laboratories[-1]

    yield open_one
    for laboratory in laboratories:
        laboratory.close()


def test_a_candidate_sits_one_exam_that_a_killed_worker_does_not_double(open_laboratory):
    ours, twin = open_laboratory("ours", 1), open_laboratory("twin", 2)  # other sealed bars, nothing else
    for laboratory in (ours, twin):
        laboratory.train_and_backtest()
    assert ours.files() == twin.files()
    assert ours.seen() == twin.seen()
    sealed = [next((each.folder / "data").rglob("sealed/*.parquet")).read_bytes() for each in (ours, twin)]
    assert sealed[0] != sealed[1]
    assert ours.sealed_windows() == twin.sealed_windows()  # what the power before the look is reckoned from

    unconfirmed = ours.get(f"/vault/{NAME}")  # a verdict in a file alone upgrades nobody
    assert (unconfirmed["status"], unconfirmed["reason"]) == (409, "verdict_unconfirmed")
    worker = ours.start_worker()
    backtest = ours.ended(ours.request("POST", "/backtests", json={"strategy": NAME}).json())
    assert backtest["result"]["verdict"]["value"] == "candidate"
    before = ours.seen()
    prospect = ours.get(f"/vault/{NAME}")
    assert (prospect["look"], prospect["sealed_bars"], prospect["required_psr"]) == (1, 365, 0.975)

    exams = ours.composition.laboratory.exams
    exam = ours.request("POST", f"/vault/{NAME}").json()
    while not exams.count():
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)
    again = ours.request("POST", f"/vault/{NAME}").json()
    assert (again["reason"], again["operation_id"]) == ("already_examined", exam["operation_id"])
    ours.start_worker()
    ended = ours.ended(exam)
    assert (ended["status"], ended["result"]) == ("completed", {"strategy_name": NAME, "look": 1})
    [held] = ours.get("/vault")["exams"]
    assert (held["look"], held["status"], exams.verify()) == (1, "passed", [])
    report = json.loads((ours.folder / ".ktrdr" / "vault" / f"{exam['operation_id']}.json").read_text())
    assert report["outcome"]["psr"] == held["psr"] >= 0.975

    # Whatever agents read is as it was; people are shown the exam.
    after = ours.seen()
    told = {place for place in before if before[place] != after[place]}
    assert told == {f"/strategies/{NAME}", "/leaderboard", "/vault", f"/vault/{NAME}", "/operations"}
    assert ours.get("/leaderboard")["rows"][0]["verdict"] == "proven"
    assert ours.get(f"/strategies/{NAME}")["backtest"]["verdict"]["value"] == "candidate"
    assert "exam" not in _told_to_mcp(ours)

    # The same weights and rules by another name have had their exam; a design from now on says that it came after it.
    copy = ours.composition.strategy_store.folder("undone_moves_too")
    shutil.copytree(ours.composition.strategy_store.folder(NAME), copy)
    renamed = STRATEGY.replace(NAME, copy.name)
    (copy / "strategy.yaml").write_text(renamed)
    assert ours.get(f"/strategies/{copy.name}")["exam"]["strategy"] == NAME
    other = renamed.replace(copy.name, "later").replace("timeperiod: 1", "timeperiod: 9")
    design = {"strategy": other, "designer": "x"}
    assert ours.request("POST", "/strategies/designs", json=design).json()["design"]["after_exam"] is True

    _check_reproduction(ours)


def _told_to_mcp(laboratory):
    class InProcess:
        async def client(self):
            from ktrdr.client.api_client import ApiClient

            return ApiClient(
                httpx.AsyncClient(transport=httpx.ASGITransport(laboratory.app), base_url="http://127.0.0.1")
            )

    call = Call(InProcess(), "test", lambda *_: None)
    return asyncio.run(get_strategy(call, StrategyArguments(name=NAME))).model_dump()


def _check_reproduction(ours):
    """A strategy is reproduced byte by byte, without a trial; what somebody changed is named."""
    path = ours.composition.strategy_store.folder(NAME) / "backtest.json"
    report = json.loads(path.read_text())
    report["metrics"]["sharpe_ratio"] += 1
    path.write_text(json.dumps(report))
    (machine_path := path.with_name("machine.json")).write_text(
        json.dumps({**json.loads(machine_path.read_text()), "device": "cuda", "gpu": "A100"})
    )
    result = ours.ended(ours.request("POST", f"/strategies/{NAME}/reproduce").json())["result"]
    found = {each["file"]: each for each in result["files"]}
    assert {"model.safetensors", "predictions.parquet", "training.json", "trades.parquet"} < found.keys()
    assert [name for name, each in found.items() if not each["identical"]] == ["backtest.json"]
    assert (result["identical"], found["backtest.json"]["differs_at"]) == (False, ["metrics.sharpe_ratio"])
    assert result["machine_differs"] == ["device: cuda then, cpu now", "gpu: A100 then, none now"]
    assert ours.composition.laboratory.ledger.count() == 1
    assert ours.get("/leaderboard")["ledger_faults"] == []
