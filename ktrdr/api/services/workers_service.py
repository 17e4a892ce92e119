"""Who works, and what waits."""

from ktrdr.operations.leases import WorkerLeases, live_workers
from ktrdr.operations.ownership import Ownership
from ktrdr.operations.runtime import COMPUTE_QUEUE, CYCLES_QUEUE, PHASES_QUEUE
from ktrdr.schemas.workers import QueueDocument, WorkerDocument, WorkerList


class WorkersService:
    """The use-case behind `/workers`. Nobody keeps a list of who works on what: it is read from the operations."""

    def __init__(self, leases: WorkerLeases, ownership: Ownership) -> None:
        self._leases = leases
        self._ownership = ownership

    def count_live(self) -> int:
        """Return how many workers live now."""
        return len(live_workers(self._leases))

    def list(self) -> WorkerList:
        """Return all workers, the dead whose work nobody has taken over yet included, and the queues."""
        running = self._ownership.running()
        workers = [
            WorkerDocument(
                worker=worker.executor_id,
                host=worker.host,
                pid=worker.pid,
                queues=list(worker.queues),
                alive=worker.is_alive,
                last_seen=worker.last_seen,
                running=running.pop(worker.executor_id, []),
                version=worker.version,
            )
            for worker in self._leases.workers()
        ]
        served = {queue for worker in workers if worker.alive for queue in worker.queues}
        waiting = self._ownership.waiting()
        # Phases whose worker is gone wait for whoever serves cycles.
        waiting[CYCLES_QUEUE] = waiting.get(CYCLES_QUEUE, 0) + waiting.pop(PHASES_QUEUE, 0)
        return WorkerList(
            workers=[*workers, *(_lost_worker(name, operations) for name, operations in sorted(running.items()))],
            queues=[
                QueueDocument(queue=queue, waiting=waiting.get(queue, 0), served=queue in served)
                for queue in (CYCLES_QUEUE, COMPUTE_QUEUE)
            ],
        )


def _lost_worker(executor_id: str, operations: list[str]) -> WorkerDocument:
    return WorkerDocument(
        worker=executor_id,
        host=None,
        pid=None,
        queues=[],
        alive=False,
        last_seen=None,
        running=operations,
        version=None,
    )
