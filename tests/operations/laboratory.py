"""A database with operations, and real workers on it that are started, paused and killed at will."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.operations.engine_tables import operations_engine
from ktrdr.operations.ownership import Ownership
from ktrdr.operations.postgres_leases import worker_leases
from ktrdr.operations.runtime import MAX_TAKEOVERS
from ktrdr.operations.store import OperationStore, migrate_database

HERE = Path(__file__).parent
GRACE_S = 1.0


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


class Laboratory:
    """A state folder with its store, and workers that are started and killed at will."""

    def __init__(self, folder, url):
        self.folder = folder
        self.url = url
        self.database = open_database(url)
        migrate_database(self.database)
        self.store = OperationStore(self.database, utc_now)
        self.ownership = Ownership(self.database)
        self.leases = worker_leases(self.database, folder, grace_s=GRACE_S)
        self.workers = []
        self.log = folder / "runs.log"

    def start_worker(self, queues="cycles,compute", *, concurrency=1):
        """Start a worker and return it once it takes work; its `name` is its executor id."""
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path}
        arguments = [str(self.folder), queues, self.url, str(GRACE_S), str(concurrency)]
        with (self.folder / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, str(HERE / "toy_worker.py"), *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        self.workers.append(worker)
        worker.name = json.loads(worker.stdout.readline())["worker"]
        return worker

    def enqueue(self, operation_type="toy_job", *, queue="compute", seconds=0.0, behaviour="answer", **more):
        payload = {"log": str(self.log), "seconds": seconds, "behaviour": behaviour, **more}
        return self.store.enqueue(
            operation_type, queue=queue, payload=payload, metadata={"purpose": "test"}
        ).operation_id

    def owner(self, operation_id):
        """Return the engine's token of the execution that holds an operation."""
        table = SystemSchema.workflow_status
        with operations_engine(self.database).connect() as connection:
            return connection.execute(
                sa.select(table.c.owner_xid).where(table.c.workflow_uuid == operation_id)
            ).scalar()

    def give_up(self, operation_id):
        """Have an operation end as one does that was taken over too often."""
        table = SystemSchema.workflow_status
        with operations_engine(self.database).begin() as connection:
            connection.execute(
                sa.update(table)
                .where(table.c.workflow_uuid == operation_id)
                .values(status="MAX_RECOVERY_ATTEMPTS_EXCEEDED", owner_xid=None)
            )

    def spend_takeovers(self, operation_id):
        """Have an operation look as if as many workers had died of it as may."""
        table = SystemSchema.workflow_status
        with operations_engine(self.database).begin() as connection:
            connection.execute(
                sa.update(table)
                .where(table.c.workflow_uuid == operation_id)
                .values(recovery_attempts=MAX_TAKEOVERS + 1)
            )

    def runs(self):
        return [int(line) for line in self.log.read_text().split()] if self.log.exists() else []

    def wait_until(self, question, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while not question():
            assert time.monotonic() < deadline, [str(operation) for operation in self.store.list().operations]
            time.sleep(0.02)

    def wait_for_end(self, operation_id):
        self.wait_until(lambda: self.store.get(operation_id).status.is_terminal)
        return self.store.get(operation_id)

    def close(self):
        for worker in self.workers:
            worker.kill()
            worker.wait()
            worker.stdout.close()
        self.database.close()
