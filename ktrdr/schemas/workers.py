"""Workers on the wire: who is there, and what waits for them."""

from ktrdr.schemas.document import Document, Timestamp


class WorkerDocument(Document):
    """A worker. Of one that was given up while its work waits to be taken over only its name and that work is known."""

    worker: str
    host: str | None
    pid: int | None
    queues: list[str]
    alive: bool
    last_seen: Timestamp | None
    running: list[str]
    version: str | None


class QueueDocument(Document):
    """How many operations wait in a queue, and whether a living worker serves it."""

    queue: str
    waiting: int
    served: bool


class WorkerList(Document):
    """All workers of the database, and the queues."""

    workers: list[WorkerDocument]
    queues: list[QueueDocument]
