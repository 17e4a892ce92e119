"""A real SQLite file, and real workers that are started and killed at will."""

import os
import subprocess
import sys
import time
from pathlib import Path

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.operations.store import OperationStore, migrate_database

HERE = Path(__file__).parent


class Laboratory:
    """A state folder with its store, and workers that are started and killed at will."""

    def __init__(self, folder):
        self.folder = folder
        self.database = open_database(f"sqlite:///{folder / 'state.sqlite'}")
        migrate_database(self.database)
        self.store = OperationStore(self.database, utc_now)
        self.workers = []
        self.log = folder / "runs.log"

    def start_worker(self, queues="cycles,compute"):
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path}
        command = [sys.executable, str(HERE / "toy_worker.py"), str(self.folder), queues]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        self.workers.append(worker)
        assert worker.stdout.readline().startswith(b'{"worker"')
        return worker

    def enqueue(self, operation_type="toy_job", *, queue="compute", seconds=0.0, behaviour="answer"):
        payload = {"log": str(self.log), "seconds": seconds, "behaviour": behaviour}
        return self.store.enqueue(
            operation_type, queue=queue, payload=payload, metadata={"purpose": "test"}
        ).operation_id

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


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
