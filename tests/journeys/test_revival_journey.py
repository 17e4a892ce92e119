"""Cycles that fail or are cancelled and then go on, with the command a user types."""

import json
import os
import signal

import httpx
import pytest
from fakes.anthropic_server import Answer, Refusal, tool_use
from test_llm_cycle_journey import FAULTY, GOOD, OPINION, is_assessor

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.evaluation.trial_ledger import TrialLedger

TRAINED = ("training.json", "model.safetensors", "predictions.parquet", "fitted_predictions.parquet", "machine.json")


@pytest.fixture
def patient_workspace(slow_workspace):
    """A workspace with a slow strategy, checkpoints all the time, and one repetition of what fails by the way."""
    slow_workspace.environment["KTRDR_CHECKPOINT_INTERVAL_S"] = "0.2"
    slow_workspace.environment["KTRDR_AGENT_PHASE_RETRIES"] = "1"
    slow_workspace.environment["KTRDR_AGENT_PHASE_BACKOFF_S"] = "0.1"
    return slow_workspace


def claude(request):
    """Design with a fault, repair it when told of it, assess."""
    if is_assessor(request):
        return Answer([tool_use("save_assessment", OPINION)])
    return GOOD if "1 is below the minimum 2" in json.dumps(request["messages"][-1]) else FAULTY


def files_of(workspace):
    folder = workspace.folder / "strategies" / "slow_spx_trend"
    return {name: (folder / name).read_bytes() for name in TRAINED}


def repeats(cycle):
    return [(each["phase"], each["reason"], each["by"]) for each in cycle["metadata"]["attempts"]]


def test_a_training_killed_twice_then_cancelled_ends_with_the_bytes_of_an_undisturbed_one(patient_workspace, free_port):
    workspace = patient_workspace
    workspace.serve(free_port)
    arguments = ("agent", "trigger", "--strategy", "slow_spx_trend", "--seed", "5", "--bypass-gates", "--detach")
    cycle_id = workspace.json(*arguments)["operation_id"]
    state = workspace.folder / ".ktrdr"

    def training():  # asked of the server itself: a command takes a second to start
        answer = httpx.get(
            f"http://127.0.0.1:{free_port}/api/v1/operations", params={"type": "training"}, trust_env=False
        )
        (child,) = answer.json()["operations"]
        return child

    def kill_job():
        (pid,) = workspace.wait_for(lambda: workspace.job_pids("training"))
        workspace.wait_for(lambda: list(state.glob("checkpoints/op_training_*/*.safetensors")))
        os.kill(pid, signal.SIGKILL)
        workspace.wait_for(lambda: pid not in workspace.job_pids("training"))

    kill_job()
    workspace.wait_for(lambda: "went on after epoch" in training()["progress"]["current_step"])
    kill_job()
    failed = workspace.json("operations", "watch", cycle_id, expect=1)
    assert (failed["status"], failed["error"]["reason"]) == ("failed", "training_failed:process_died")

    retried = workspace.json("operations", "retry", cycle_id, "--detach")
    assert (retried["status"], retried["error"], retried["completed_at"]) == ("pending", None, None)
    workspace.wait_for(lambda: "went on after epoch" in training()["progress"]["current_step"])
    workspace.run("operations", "cancel", cycle_id)
    workspace.wait_for(lambda: not list(state.glob("attempts/*")), timeout_s=5)
    assert list(state.glob("checkpoints/*"))
    refused = workspace.json("operations", "resume", training()["operation_id"], expect=1)
    assert (refused["reason"], refused["operation_id"]) == ("part_of_cycle", cycle_id)

    ended = workspace.json("operations", "resume", cycle_id)
    assert (ended["status"], ended["started_at"]) == ("completed", failed["started_at"])
    died = "process_died"
    assert repeats(ended) == [
        ("training", died, "worker"),
        ("training", f"training_failed:{died}", "retry"),
        ("training", "cancelled", "resume"),
    ]
    assert repeats(training()) == [("training", died, "worker")]
    shown = workspace.run("operations", "show", cycle_id).stdout
    assert "training ended with process_died at" in shown
    assert not list(state.glob("checkpoints/*"))
    disturbed = files_of(workspace)
    workspace.run("train", "slow_spx_trend", "--seed", "5")
    assert files_of(workspace) == disturbed

    database = open_database(f"sqlite:///{state / 'state.sqlite'}")
    ledger = TrialLedger(database, utc_now)
    assert (ledger.count(), ledger.unclosed(), ledger.verify()) == (2, [], [])
    assert ledger.outcome(ended["metadata"]["training_op_id"])["outcome"] in ("passed_gates", "gates_bypassed")
    database.close()


def test_a_design_whose_provider_is_overloaded_is_tried_again_and_then_retried_without_paying_twice(
    workspace, anthropic_server
):
    server = anthropic_server
    workspace.environment["ANTHROPIC_API_KEY"] = "sk-ant-test"
    workspace.environment["ANTHROPIC_BASE_URL"] = server.url
    workspace.environment["KTRDR_AGENT_RETRY_BACKOFF_S"] = "0.01"
    workspace.environment["KTRDR_AGENT_PHASE_RETRIES"] = "1"
    workspace.environment["KTRDR_AGENT_PHASE_BACKOFF_S"] = "0.2"
    refusing = Refusal(529, "overloaded_error")
    server.script = lambda request: (
        claude(request) if len(server.received) in (1, 8) or is_assessor(request) else refusing
    )
    failed = workspace.json("agent", "trigger", "--bypass-gates", expect=1)
    assert failed["error"]["reason"] == "design_failed:overloaded"
    assert len(server.received) == 1 + 3 + 3  # a faulty design; three attempts, a pause, three attempts
    assert repeats(failed) == [("designing", "overloaded", "worker")]

    server.script = claude
    ended = workspace.json("operations", "retry", failed["operation_id"])
    assert (ended["status"], ended["metadata"]["strategy_name"]) == ("completed", "claude_spx_reversion")
    assert len(server.received) == 9
    repaired = server.received[7].document["messages"]
    assert repaired == server.received[1].document["messages"]
    assert "1 is below the minimum 2" in json.dumps(repaired)  # the first answer is remembered, not asked for again
    assert ended["metadata"]["cost_usd"] == pytest.approx(server.billed_usd, abs=1e-8)
    budget = workspace.json("agent", "budget")
    assert (budget["open_cycles"], budget["reserved_usd"]) == ([], 0.0)

    refused = workspace.json("operations", "retry", ended["operation_id"], expect=1)
    assert refused["reason"] == "not_failed"
