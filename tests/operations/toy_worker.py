"""A real worker with toy operations: `python toy_worker.py STATE_FOLDER QUEUES URL GRACE_S CONCURRENCY`."""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.operations.job_child import die_with_parent
from ktrdr.operations.postgres_leases import worker_leases
from ktrdr.operations.runtime import COMPUTE_QUEUE, Membership, WorkerRuntime
from ktrdr.operations.store import OperationStore, migrate_database
from ktrdr.telemetry.logs import configure_logging


async def job(work, payload):
    attempt = Path(payload["log"]).parent / work.operation_id
    return await work.run_job("toy_job", payload, attempt=attempt)


async def parent(work, payload):
    await work.annotate({"stage": "before"})
    child_id = await work.new_child_id("toy_job")
    await work.annotate({"stage": "child", "child_id": child_id})
    result = await work.run_queued_child("toy_job", child_id, payload, queue=COMPUTE_QUEUE, start_timeout_s=1)
    inner_id = await work.new_child_id("toy_inner")
    inner = await work.run_child("toy_inner", inner_id, {"seconds": payload.get("inner_seconds", 0)})
    return {"child": result, "inner": inner}


async def inner(work, payload):
    async def wait():
        await asyncio.sleep(payload["seconds"])

    await work.interruptible_step("wait", wait)
    return "inner done"


def main() -> None:
    die_with_parent()
    configure_logging()
    state, queues, url = Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
    database = open_database(url)
    migrate_database(database)
    store = OperationStore(database, utc_now)
    stop = threading.Event()
    leases = worker_leases(database, state, grace_s=float(sys.argv[4]))
    lease = leases.lease(queues, on_lost=stop.set)
    runtime = WorkerRuntime(
        database, store, clock=utc_now, membership=Membership(leases, lease), job_environment=os.environ
    )
    for operation_type, body in {"toy_job": job, "toy_parent": parent, "toy_inner": inner}.items():
        runtime.register(operation_type, body)
    runtime.launch(queues, max_concurrent_cycles=4, compute_concurrency=int(sys.argv[5]))
    sys.stdout.write(json.dumps({"worker": lease.executor_id}) + "\n")
    sys.stdout.flush()
    stop.wait()
    os._exit(1)


main()
