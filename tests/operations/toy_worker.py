"""A real worker with toy operations: `python toy_worker.py STATE_FOLDER QUEUES URL GRACE_S CONCURRENCY`."""

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.operations.job_child import die_with_parent
from ktrdr.operations.leases import worker_name
from ktrdr.operations.postgres_leases import worker_leases
from ktrdr.operations.runtime import COMPUTE_QUEUE, Membership, WorkerRuntime
from ktrdr.operations.store import OperationStore, migrate_database
from ktrdr.operations.work import Repetition
from ktrdr.telemetry.logs import configure_logging, log_to_file


async def job(work, payload):
    done = await work.run_job("toy_job", payload, attempts=Path(payload["log"]).parent / "attempts")
    return done.result


async def persistent_job(work, payload):
    """As `job`, but a process that dies is tried again twice, after as many seconds as it works and four times that."""
    repetition = Repetition(frozenset({"process_died"}), 2, payload["seconds"])
    return await work.repeating("toy", lambda: job(work, {**payload, "seconds": 0.0}), repetition)


async def parent(work, payload):
    await work.annotate({"stage": "before"})
    child_id = await work.new_child_id("toy_job")
    await work.annotate({"stage": "child", "child_id": child_id})
    result = await work.run_queued_child("toy_job", child_id, payload, queue=COMPUTE_QUEUE, start_timeout_s=1)
    inner_id = await work.new_child_id("toy_inner")
    inner = await work.run_child("toy_inner", inner_id, {"seconds": payload.get("inner_seconds", 0)})
    return {"child": result, "inner": inner}


async def outer(work, payload):
    """A parent whose child runs in its own worker, as a cycle's agents do."""
    child_id = await work.new_child_id("toy_slow_inner")
    return await work.run_child("toy_slow_inner", child_id, payload)


async def inner(work, payload):
    async def wait():
        await asyncio.sleep(payload["seconds"])

    await work.owned_step("wait", wait)
    return "inner done"


async def slow_inner(work, payload):
    """Counts each of its two steps; the second waits as long as it is told."""
    log = Path(payload["log"])

    async def wait():
        with log.open("a") as file:
            file.write("2\n")
        await asyncio.sleep(payload["seconds"] if len(log.read_text().split()) < 3 else 0)
        return "slow inner done"

    def note():
        with log.open("a") as file:
            file.write("1\n")

    await work.step("note", note)
    return await work.owned_step("wait", wait)


BODIES = {
    "toy_job": job,
    "toy_persistent": persistent_job,
    "toy_parent": parent,
    "toy_outer": outer,
    "toy_inner": inner,
    "toy_slow_inner": slow_inner,
}


def main() -> None:
    die_with_parent()
    configure_logging()
    state, queues, url = Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
    database = open_database(url)
    migrate_database(database)
    store = OperationStore(database, utc_now)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    leases = worker_leases(database, state, grace_s=float(sys.argv[4]))
    lease = leases.lease(queues, on_lost=stop.set)
    log_to_file(state / "logs" / f"{worker_name(lease.executor_id)}.log", instead_of_stderr=True)
    runtime = WorkerRuntime(
        database, store, clock=utc_now, membership=Membership(leases, lease), job_environment=os.environ
    )
    for operation_type, body in BODIES.items():
        runtime.register(operation_type, body)
    runtime.launch(queues, max_concurrent_cycles=4, compute_concurrency=int(sys.argv[5]))
    sys.stdout.write(json.dumps({"worker": lease.executor_id}) + "\n")
    sys.stdout.flush()
    stop.wait()
    if lease.is_lost:
        os._exit(1)
    runtime.stop()
    os._exit(0)


main()
