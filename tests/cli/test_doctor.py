"""`ktrdr doctor` on machines in every state."""

import json
import os
import subprocess
import sys

import pytest
import sqlalchemy as sa

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.operations.leases import FileLeases
from ktrdr.operations.postgres_leases import PostgresLeases
from ktrdr.operations.store import OperationStore, migrate_database


def examine(folder, **variables):
    """Return the exit code and the findings by what was checked; every one that is not well says what to do."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KTRDR_")}
    environment |= {"KTRDR_WORKSPACE": str(folder), **variables}
    command = [sys.executable, "-m", "ktrdr.cli", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["healthy"] == (done.returncode == 0)
    findings = {}
    for finding in report["findings"]:
        findings.setdefault(finding["check"], []).append(finding)
        assert (finding["fix"] is None) == (finding["status"] == "ok")
    return done.returncode, findings


def states(findings):
    return {check: [finding["status"] for finding in found] for check, found in findings.items()}


def test_a_new_workspace_is_well_and_a_mistyped_setting_is_pointed_out(tmp_path):
    code, findings = examine(tmp_path / "new", KTRDR_WORKER_GRACES_S="3")
    assert code == 0
    assert {found[-1]["status"] for found in findings.values()} == {"ok"}
    assert findings["environment"][0]["fix"] == "did you mean KTRDR_WORKER_GRACE_S?"


@pytest.mark.parametrize(
    ("variables", "check", "words"),
    [
        ({"KTRDR_DATABASE_URL": "postgresql+psycopg://a:secret@127.0.0.1:1/x"}, "database", "refused"),
        ({"KTRDR_API_URL": "http://127.0.0.1:9"}, "server", "nothing answers"),
        ({"KTRDR_DEVICE": "cuda"}, "device", "need a CUDA GPU"),
        ({"KTRDR_WORKER_GRACE_S": "soon"}, "environment", "KTRDR_WORKER_GRACE_S"),
        ({"KTRDR_ARTIFACTS_URL": "ftp://a:secret@127.0.0.1:1/x"}, "artifacts", "ftp://***@127.0.0.1:1/x: Connection"),
        ({"KTRDR_ARTIFACTS_URL": "/mnt/lab"}, "environment", "need a URL with its protocol, such as file:///mnt/lab"),
    ],
)
def test_what_does_not_answer_or_cannot_be_read_is_broken(tmp_path, variables, check, words):
    code, findings = examine(tmp_path, **variables)
    assert code == 1
    (broken,) = [finding for finding in findings[check] if finding["status"] == "broken"]
    assert words in broken["message"]
    assert "secret" not in str(findings)


def test_workers_their_work_what_nobody_serves_and_what_is_stalled_are_told(tmp_path, database_url):
    url = database_url
    database = open_database(url)
    migrate_database(database)
    store = OperationStore(database, utc_now)
    leases = FileLeases(tmp_path / ".ktrdr") if database.is_sqlite else PostgresLeases(database, grace_s=10)
    lease = leases.lease(["cycles"], on_lost=lambda: None)
    try:
        running, waiting, stalled = (
            store.enqueue("training", queue="compute", payload={}, metadata={}).operation_id for _ in range(3)
        )
        table = "workflow_status" if database.is_sqlite else "dbos.workflow_status"
        with database.engine.begin() as connection:
            change = f"UPDATE {table} SET status = 'PENDING', executor_id = :executor WHERE workflow_uuid = :id"
            connection.execute(sa.text(change), {"executor": lease.executor_id, "id": running})
            change = f"UPDATE {table} SET application_version = '0' WHERE workflow_uuid = :id"
            connection.execute(sa.text(change), {"id": stalled})
        code, findings = examine(tmp_path, KTRDR_DATABASE_URL=url)
    finally:
        lease.release()
        database.close()
    assert code == 1
    assert findings["worker"][0]["message"].startswith(lease.executor_id)
    assert findings["worker"][0]["message"].endswith(f"serves cycles and runs {running}")
    assert findings["queue"][0]["fix"] == "start a worker: `ktrdr worker --queues compute`"
    assert findings["queue"][0]["message"].startswith("1 operation(s) wait in compute")
    assert [finding["message"].split()[0] for finding in findings["operation"]] == [stalled]
    assert states(findings)["worker"] == ["ok"]
    assert waiting not in str(findings)
