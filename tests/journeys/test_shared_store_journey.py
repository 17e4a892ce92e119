"""Two machines with workspaces of their own, one database and one store: a cycle whose phases run on both."""

import hashlib

import httpx
import pytest
from fakes.ftp_server import PASSWORD, FtpServer
from user_workspace import Workspace

from ktrdr.config import load_settings
from ktrdr.jobs.files import ASSESSMENT_FILES, BACKTEST_FILES, CYCLE_FILE, TRAINING_FILES
from ktrdr.jobs.stores import open_job_stores

FILES = {"strategy.yaml", "design.json", *TRAINING_FILES, *BACKTEST_FILES, *ASSESSMENT_FILES, CYCLE_FILE}


@pytest.fixture
def store(tmp_path):
    server = FtpServer(tmp_path / "store")
    yield server
    server.stop()


@pytest.fixture
def machines(tmp_path, postgres_url, store):
    """Two workspaces, with nothing in common but the database and the store."""
    opened = []
    for name in ("one", "two"):
        machine = Workspace(tmp_path / name)
        machine.environment |= {
            "KTRDR_DATABASE_URL": postgres_url,
            "KTRDR_ARTIFACTS_URL": store.url,
            "KTRDR_ARTIFACTS_PATIENCE_S": "60",
            "KTRDR_WORKER_GRACE_S": "2",
            "KTRDR_CHECKPOINT_INTERVAL_S": "0.1",
        }
        opened.append(machine)
    yield opened
    for machine in opened:
        machine.close()


def everything(machine):
    """Return the hashes of all files that the machine sees of strategies, bars and trials, by their place."""
    stores = open_job_stores(load_settings(machine.environment))
    for name in stores.strategies.names():
        stores.strategies.folder(name)
    for info in stores.bars.list_series():
        stores.bars.load_research(info.symbol, info.timeframe)
    stores.trials.bring_all()
    folders = [machine.folder / "strategies", machine.folder / "data", machine.folder / ".ktrdr" / "trials"]
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(machine.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_phases_of_one_cycle_run_on_two_machines_that_share_only_a_store(machines, store, free_port):
    one, two = machines
    one.serve(free_port, "--workers", "0")
    first = one.start("worker", "--queues", "cycles")  # it designs; nobody trains yet
    with httpx.Client(base_url=f"http://127.0.0.1:{free_port}/api/v1", trust_env=False, timeout=60) as api:
        assert api.post("/markets/samples").status_code == 201
        asked = {"model": "offline", "seed": 3, "bypass_gates": True}
        cycle_id = api.post("/agent/trigger", json=asked).json()["operation_id"]

        def reached(*phases):
            def answer():
                operation = api.get(f"/operations/{cycle_id}").json()
                assert operation["status"] in ("pending", "running", "completed"), operation
                return operation["metadata"] if operation["metadata"]["phase"] in phases else None

            return one.wait_for(answer)

        metadata = reached("training")
        # The machine that designed is gone for good, with its folder, and the store is away for a while.
        first.kill()
        store.stop()
        answer = api.get("/strategies")
        assert (answer.status_code, answer.json()["reason"]) == (503, "artifacts_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert PASSWORD not in answer.text
        store.start()
        two.start("worker")  # the other machine goes on with the cycle
        reached("done")
        detail = api.get(f"/strategies/{metadata['strategy_name']}").json()
    assert None not in (detail["training"], detail["backtest"], detail["assessment"])
    seen = everything(one)
    assert seen == everything(two)
    place = f"strategies/{metadata['strategy_name']}/"
    assert {path.removeprefix(place) for path in seen if path.startswith(place)} == FILES
    assert f".ktrdr/trials/{metadata['training_op_id']}.parquet" in seen
    assert not list((store.folder / "files" / "checkpoints").rglob("*.safetensors"))
    log = "".join(path.read_text() for machine in machines for path in machine.folder.rglob("*.log*"))
    assert PASSWORD not in log
    assert "Traceback" not in log
