"""A real worker with toy operations: `python toy_worker.py STATE_FOLDER QUEUES`."""

import json
import sys
import threading
from pathlib import Path

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.operations.job_child import die_with_parent
from ktrdr.operations.leases import lease_worker_number
from ktrdr.operations.runtime import COMPUTE_QUEUE, WorkerRuntime
from ktrdr.operations.store import OperationStore, migrate_database
from ktrdr.telemetry.logs import configure_logging, log_to_file


async def job(work, payload):
    attempt = Path(payload["log"]).parent / work.operation_id
    return await work.run_job("toy_job", payload, attempt=attempt)


async def parent(work, payload):
    await work.annotate({"stage": "before"})
    child_id = await work.new_child_id("toy_job")
    await work.annotate({"stage": "child", "child_id": child_id})
    result = await work.run_queued_child("toy_job", child_id, payload, queue=COMPUTE_QUEUE, start_timeout_s=1)
    inner_id = await work.new_child_id("toy_inner")
    inner = await work.run_child("toy_inner", inner_id, {})
    return {"child": result, "inner": inner}


async def inner(work, payload):
    return "inner done"


def main() -> None:
    die_with_parent()
    state = Path(sys.argv[1])
    database = open_database(f"sqlite:///{state / 'state.sqlite'}")
    migrate_database(database)
    store = OperationStore(database, utc_now)
    queues = sys.argv[2].split(",")
    lease = lease_worker_number(state, queues)
    configure_logging()
    log_to_file(state / "logs" / f"{lease.executor_id}.log", instead_of_stderr=True)
    runtime = WorkerRuntime(database, store, clock=utc_now, lease=lease, state_folder=state)
    for operation_type, body in {"toy_job": job, "toy_parent": parent, "toy_inner": inner}.items():
        runtime.register(operation_type, body)
    runtime.launch(queues, max_concurrent_cycles=4)
    sys.stdout.write(json.dumps({"worker": lease.executor_id}) + "\n")
    sys.stdout.flush()
    threading.Event().wait()


main()
