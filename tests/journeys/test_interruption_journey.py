"""Cycles whose command, server or worker is killed, and cycles that somebody cancels."""

import os
import signal
import time
from pathlib import Path

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.evaluation.trial_ledger import TrialLedger


def cycle_of(workspace):
    return workspace.json("agent", "status")


def start_and_wait_for_training(workspace, *arguments):
    process = workspace.start("agent", "trigger", "--bypass-gates", *arguments)
    pids = workspace.wait_for(lambda: workspace.job_pids("training"))
    return process, pids


def is_gone(pid):
    try:  # a zombie whose parent was killed is gone, even where nobody collects it
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


def test_a_killed_embedded_command_leaves_nothing_running_and_the_next_worker_finishes_its_cycle(slow_workspace):
    workspace = slow_workspace
    process, (pid,) = start_and_wait_for_training(workspace, "--strategy", "slow_spx_trend")
    os.kill(process.pid, signal.SIGKILL)
    workspace.wait_for(lambda: is_gone(pid), timeout_s=2)
    cycle = cycle_of(workspace)["operation"]
    assert cycle["status"] == "running"
    worker = workspace.start("worker")
    workspace.wait_for(lambda: cycle_of(workspace)["status"] == "idle")
    worker.terminate()
    worker.wait(10)
    ended = workspace.json("operations", "show", cycle["operation_id"])
    assert (ended["status"], ended["metadata"]["phase"]) == ("completed", "done")


def test_a_killed_server_takes_everything_along_and_its_successor_repeats_no_finished_phase(slow_workspace, free_port):
    workspace = slow_workspace
    server = workspace.serve(free_port)
    cycle_id = workspace.json("agent", "trigger", "--detach", "--bypass-gates", "--brief", "SPX trend")["operation_id"]
    (pid,) = workspace.wait_for(lambda: workspace.job_pids("training"))
    designed = workspace.json("operations", "list", "--type", "agent_design")["operations"][0]
    os.kill(server.pid, signal.SIGKILL)
    workspace.wait_for(lambda: is_gone(pid), timeout_s=2)
    workspace.serve(free_port)
    ended = workspace.wait_for(
        lambda: (cycle := workspace.json("operations", "show", cycle_id))["status"] == "completed" and cycle
    )
    designs = workspace.json("operations", "list", "--type", "agent_design")["operations"]
    assert designs == [designed]
    assert ended["metadata"]["design_op_id"] == designed["operation_id"]
    assert len(list((workspace.folder / "strategies").iterdir())) == 2  # the slow one and the designed one
    assert not list((workspace.folder / ".ktrdr" / "attempts").glob("*"))


def test_cancelling_ends_the_cycle_its_children_and_its_process(slow_workspace, free_port):
    workspace = slow_workspace
    workspace.serve(free_port)
    cycle_id = workspace.json("agent", "trigger", "--detach", "--strategy", "slow_spx_trend")["operation_id"]
    (pid,) = workspace.wait_for(lambda: workspace.job_pids("training"))
    cancelled = workspace.json("agent", "cancel", cycle_id)
    asked = time.monotonic()
    workspace.wait_for(lambda: is_gone(pid), timeout_s=1)
    assert time.monotonic() - asked < 1
    assert cancelled["status"] == "cancelled"
    (child,) = workspace.json("operations", "list", "--parent", cycle_id)["operations"]
    assert (child["type"], child["status"]) == ("training", "cancelled")
    assert child["completed_at"] is not None
    assert workspace.json("agent", "cancel", cycle_id)["status"] == "cancelled"
    workspace.wait_for(lambda: not list((workspace.folder / ".ktrdr" / "attempts").glob("*")), timeout_s=5)
    assert workspace.json("agent", "status")["status"] == "idle"
    database = open_database(f"sqlite:///{workspace.folder / '.ktrdr' / 'state.sqlite'}")
    ledger = TrialLedger(database, utc_now)
    workspace.wait_for(lambda: ledger.unclosed() == [], timeout_s=5)
    assert (ledger.count(), ledger.verify()) == (1, [])
    database.close()


def test_ctrl_c_in_an_embedded_command_cancels_the_cycle(slow_workspace):
    workspace = slow_workspace
    process, (pid,) = start_and_wait_for_training(workspace, "--strategy", "slow_spx_trend")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 130, process.stdout.read()
    workspace.wait_for(lambda: is_gone(pid), timeout_s=2)
    assert workspace.json("agent", "status")["last_cycle"]["status"] == "cancelled"
