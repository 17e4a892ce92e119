"""One short siege on each database, in every run of the tests; and proof that each invariant can be violated."""

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import pytest
import sqlalchemy as sa
from besieged import BesiegedLaboratory
from evidence import Evidence
from fickle_provider import FickleProvider
from invariants import INVARIANTS, violations
from siege import Fault, besiege

BY_COMMAND = ("agent", "trigger", "--brief", "chaos 2", "--seed", "2", "--bypass-gates", "--detach")


@pytest.fixture(scope="module")
def provider():
    provider = FickleProvider(seed=1, is_fickle=False)
    yield provider
    provider.close()


def test_a_cycle_on_postgresql_begun_by_command_outlives_its_worker_its_connections_and_its_server(
    tmp_path, stored_samples, provider, postgres_server, migrated_template
):
    provider.server.received.clear()
    plan = [Fault(1.0, "cut_connections", 0.9), Fault(2.0, "kill_api", 0.1), Fault(3.0, "kill_worker", 0.9)]
    with BesiegedLaboratory(
        tmp_path, provider.server.url, n_workers=2, postgres=postgres_server, template=migrated_template
    ) as laboratory:
        shutil.copytree(stored_samples, laboratory.folder / "data")
        report, evidence = besiege(laboratory, provider, plan, (), begin=lambda: laboratory.run_command(*BY_COMMAND))
        evidence.close()
    assert (report.found, report.statuses) == ([], ["completed"]), report.log


@pytest.fixture(scope="module")
def besieged_on_sqlite(tmp_path_factory, stored_samples, provider):
    """The copy of a laboratory after its siege, with nothing wrong in it; and the report."""
    provider.server.received.clear()
    folder, copy = tmp_path_factory.mktemp("siege"), tmp_path_factory.mktemp("copy") / "workspace"
    plan = [Fault(1.0, "kill_worker", 0.1), Fault(2.5, "cancel_cycle", 0.3), Fault(5.0, "kill_job", 0.5)]
    with BesiegedLaboratory(folder, provider.server.url, n_workers=2) as laboratory:
        shutil.copytree(stored_samples, laboratory.folder / "data")
        report, evidence = besiege(laboratory, provider, plan, (0.0,))
        evidence.database.close()
        shutil.copytree(laboratory.folder, copy)
        environment = {**laboratory.environment, "KTRDR_WORKSPACE": str(copy)}
    evidence = Evidence(
        environment,
        received=[*provider.server.received],
        epoch_offset_s=provider.epoch_offset_s,
        disturbances=evidence.disturbances,
        worker_deaths=evidence.worker_deaths,
    )
    yield report, evidence
    evidence.close()


def test_a_cycle_on_sqlite_outlives_its_worker_a_cancellation_and_its_job(besieged_on_sqlite):
    report, evidence = besieged_on_sqlite
    assert (report.found, report.statuses) == ([], ["completed"]), report.log
    assert violations(evidence) == []


@dataclass
class Plants:
    """Each makes one invariant false."""

    evidence: Evidence

    def change(self, statement, **values):
        with self.evidence.database.engine.begin() as connection:
            assert connection.execute(sa.text(statement), values).rowcount == 1

    def every_cycle_has_ended(self):
        self.change("UPDATE workflow_status SET status = 'PENDING' WHERE name = 'agent_research'")
        return "is running"

    def no_process_is_left(self):
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        self.left = subprocess.Popen(command, env={"KTRDR_WORKSPACE": str(self.evidence.folder)})
        time.sleep(0.1)
        return "time.sleep(60)"

    def the_bill_is_the_ledger(self):
        self.change(
            "UPDATE ktrdr_budget_attempts SET settled_nano_usd = settled_nano_usd / 2 WHERE attempt_id = "
            "(SELECT min(attempt_id) FROM ktrdr_budget_attempts WHERE settled_nano_usd > 0)"
        )
        return "which nobody billed"

    def strategies_are_whole(self):
        next(self.evidence.settings.strategies_folder.glob("*/predictions.parquet")).unlink()
        return "predictions.parquet is missing"

    def trials_are_counted(self):
        self.change("UPDATE ktrdr_trial_events SET payload = '{}' WHERE sequence = 1")
        return "was changed after it was written"

    def no_phase_ran_twice(self):
        (training,) = self.evidence.operations("training")
        columns = [
            column["name"] for column in sa.inspect(self.evidence.database.engine).get_columns("workflow_status")
        ]
        copied = ", ".join("workflow_uuid || 'x'" if name == "workflow_uuid" else name for name in columns)
        self.change(
            f"INSERT INTO workflow_status ({', '.join(columns)}) SELECT {copied} FROM workflow_status "
            "WHERE workflow_uuid = :id",
            id=training.operation_id,
        )
        return "has 2 phases training"


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda check: check.__name__)
def test_each_invariant_finds_a_planted_violation(besieged_on_sqlite, invariant):
    _, evidence = besieged_on_sqlite
    assert invariant(evidence) == []
    plants = Plants(evidence)
    words = getattr(plants, invariant.__name__)()
    try:
        assert any(words in fault for fault in invariant(evidence))
    finally:
        if invariant.__name__ == "no_process_is_left":
            plants.left.kill()
            plants.left.wait()


def test_a_job_and_a_question_that_come_again_after_their_answer_are_found(besieged_on_sqlite):
    """Runs last: the rows are no longer what they were."""
    _, evidence = besieged_on_sqlite
    logs = [*evidence.settings.logs_folder.glob("worker-*.log")]
    log, line = next(
        (log, line)
        for log in logs
        for line in log.read_text().splitlines()
        if "ktrdr.jobs.training runs as process" in line
    )
    day = line[: len('{"time": "2026-01-01')]
    log.write_text(log.read_text() + line.replace(day, '{"time": "2099-01-01') + "\n")
    evidence.received = [*evidence.received, replace(evidence.received[0], at=evidence.received[0].at + 1e6)]
    found = [fault for check in INVARIANTS for fault in check(evidence)]
    assert any("ran again" in fault for fault in found)
    assert any("was asked again" in fault for fault in found)
    assert any("reservations for" in fault for fault in found)
