"""Listing among 100,000 stored operations, through the real HTTP app: `python benchmarks/bench_operations.py [N]`.

The rows stand where the engine would have put them: cycles with four children each, their attributes, results and
errors, spread over months. SQLite always; PostgreSQL in a cluster of its own where its server is installed.
"""

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema

from ktrdr.api.app import close_app, create_app
from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.operations.engine_tables import APPLICATION_VERSION
from ktrdr.operations.serializer import JsonSerializer
from ktrdr.operations.store import APPLICATION_NAME, migrate_database

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from private_postgres import HOW_TO_INSTALL, PrivatePostgres, server_binaries

N_OPERATIONS, ROUNDS, CHUNK = 100_000, 30, 5_000
FIRST_MS, CYCLE_EVERY_MS = 1_750_000_000_000, 600_000
PHASES = {"agent_design": 4, "training": 40, "backtesting": 9, "agent_assessment": 5}
FAILURES = ("gate_failed:backtest:no_trades", "gate_failed:training:accuracy_below_threshold", "worker_lost")
API = "/api/v1"


@dataclass(frozen=True)
class Question:
    """One request, and how many milliseconds its median may take."""

    name: str
    path: str
    target_ms: float


def rows(n_operations: int) -> Iterator[tuple[dict, dict]]:
    """Yield what the engine stores of each operation: its status row and its output row."""
    rng = random.Random(5)
    serializer = JsonSerializer()
    n_cycles = n_operations // (len(PHASES) + 1)
    for number in range(n_cycles):
        began = FIRST_MS + number * CYCLE_EVERY_MS + rng.randrange(1000)
        cycle = new_id("agent_research", began, rng)
        ids = {phase: new_id(phase, began + 1000 * delay, rng) for phase, delay in PHASES.items()}
        failed = rng.choice(FAILURES) if rng.random() < 0.4 else None
        outcome = "ERROR" if failed else "CANCELLED" if rng.random() < 0.02 else "SUCCESS"
        metadata = {
            "metadata.phase": "training" if failed else "done",
            "metadata.strategy_name": f"reversion_eurusd_{number}",
            "metadata.training_op_id": ids["training"],
            "metadata.brief": "reversion on EURUSD, long only, few trades " * 3,
            "metadata.gates": [{"gate": name, "passed": True, "reason": "passed"} for name in ("training", "backtest")],
        }
        yield row(cycle, "agent_research", None, began, outcome, metadata, failed, serializer)
        for phase, delay in PHASES.items():
            yield row(ids[phase], phase, cycle, began + 1000 * delay, "SUCCESS", {}, None, serializer)


def new_id(kind: str, created_ms: int, rng: random.Random) -> str:
    """Return an id as the program makes them."""
    stamp = time.strftime("%Y%m%d_%H%M%S", time.gmtime(created_ms // 1000))
    return f"op_{kind}_{stamp}_{rng.getrandbits(24):06x}"


def row(
    operation_id: str,
    kind: str,
    parent: str | None,
    created_ms: int,
    status: str,
    metadata: dict,
    failed: str | None,
    serializer: JsonSerializer,
) -> tuple[dict, dict]:
    """Return the two rows of one ended operation."""
    ended_ms = created_ms + 30_000
    progress = {"percentage": 100.0, "current_step": "done", "executor_id": "worker-1"}
    attributes = {"created_at": created_ms, "started_at": created_ms + 200, "completed_at": ended_ms, **metadata}
    result = json.dumps({"accuracy": 0.51, "final_loss": 0.69, "files": ["training.json", "model.safetensors"] * 5})
    error = json.dumps({"ktrdr_error": {"reason": failed, "message": "need more, was less"}}) if failed else None
    state = {
        "workflow_uuid": operation_id,
        "status": status,
        "name": kind,
        "parent_workflow_id": parent,
        "executor_id": "worker-1",
        "created_at": created_ms // 1000 * 1000,
        "updated_at": ended_ms,
        "completed_at": ended_ms,
        "application_version": APPLICATION_VERSION,
        "application_name": APPLICATION_NAME,
        "queue_name": "cycles",
        "priority": 0,
        "serialization": serializer.name(),
        "attributes": {**attributes, "progress": progress},
    }
    output = {
        "workflow_uuid": operation_id,
        "output": None if failed else result,
        "error": error,
        "retention_timestamp": ended_ms,
    }
    return state, output


def store_rows(url: str, n_operations: int) -> str:
    """Fill an empty database and return the id of a cycle in the middle."""
    database = open_database(url)
    migrate_database(database)
    schema = None if database.is_sqlite else "dbos"
    engine = database.engine.execution_options(schema_translate_map={SystemSchema.metadata_obj.schema: schema})
    stored = list(rows(n_operations))
    with engine.begin() as connection:
        for begin in range(0, len(stored), CHUNK):
            chunk = stored[begin : begin + CHUNK]
            connection.execute(sa.insert(SystemSchema.workflow_status), [state for state, _ in chunk])
            connection.execute(sa.insert(SystemSchema.workflow_output), [output for _, output in chunk])
    if not database.is_sqlite:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE"))  # as autovacuum does before long
    database.close()
    return stored[len(stored) // 10 * 5][0]["workflow_uuid"]


def questions(cycle: str, cursor: str) -> list[Question]:
    """Return what is asked."""
    listing = f"{API}/operations"
    return [
        Question("latest 50", listing, 20),
        Question("failed cycles", f"{listing}?status=failed&type=agent_research", 50),
        Question("cancelled cycles", f"{listing}?status=cancelled&type=agent_research", 50),
        Question("completed trainings", f"{listing}?status=completed&type=training", 50),
        Question("running cycles (none)", f"{listing}?status=running&type=agent_research", 50),
        Question("pending backtests (none)", f"{listing}?status=pending&type=backtesting", 50),
        Question("failed trainings (none)", f"{listing}?status=failed&type=training", 50),
        Question("a type there is none of", f"{listing}?type=holdout_exam", 50),
        Question("failed, any type", f"{listing}?status=failed", 50),
        Question("page 1,000", f"{listing}?cursor={cursor}", 50),
        Question("of one day", f"{listing}?since=2025-09-01T00:00:00Z&until=2025-09-02T00:00:00Z", 50),
        Question("children of a cycle", f"{listing}/{cycle}/children", 20),
        Question("children of a cycle, as a filter", f"{listing}?parent_id={cycle}", 20),
        Question("one, by its id", f"{listing}/{cycle}", 20),
        Question("one, by its last six", f"{listing}/{cycle[-6:]}", 50),
        Question("one, by its beginning", f"{listing}/{cycle[:-3]}", 50),
        Question("agent status", f"{API}/agent/status", 50),
    ]


async def measure(url: str, cycle: str) -> list[tuple[Question, float]]:
    """Return the median milliseconds of each question, warm, asked of the app without a socket."""
    with tempfile.TemporaryDirectory() as workspace:
        app = create_app(load_settings({"KTRDR_WORKSPACE": workspace, "KTRDR_DATABASE_URL": url}))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=None) as http:
            cursor = None
            for _ in range(250):
                page = await http.get(
                    f"{API}/operations", params={"limit": 200, **({"cursor": cursor} if cursor else {})}
                )
                cursor = page.json()["next_cursor"] or cursor
            found = []
            for question in questions(cycle, cursor or ""):
                times = []
                for _ in range(ROUNDS + 3):
                    began = time.perf_counter()
                    answer = await http.get(question.path)
                    times.append(1000 * (time.perf_counter() - began))
                    assert answer.status_code in (200, 409), answer.text
                found.append((question, statistics.median(times[3:])))
        close_app(app)
    return found


@contextmanager
def databases() -> Iterator[Iterator[tuple[str, str]]]:
    """Yield the databases to measure, each with its name."""

    def each() -> Iterator[tuple[str, str]]:
        with tempfile.TemporaryDirectory() as folder:
            yield "SQLite", f"sqlite:///{folder}/state.sqlite"
        binaries = server_binaries()
        if binaries is None:
            print(f"PostgreSQL: not measured, {HOW_TO_INSTALL}")
            return
        server = PrivatePostgres(binaries)
        try:
            yield "PostgreSQL", server.url()
        finally:
            server.remove()

    yield each()


def main(n_operations: int) -> int:
    """Print a table per database; return 1 where a target is missed."""
    is_met = True
    with databases() as found:
        for name, url in found:
            cycle = store_rows(url, n_operations)
            print(f"operations, {name}, {n_operations} stored: median of {ROUNDS}, warm")
            for question, median_ms in asyncio.run(measure(url, cycle)):
                is_in_time = median_ms <= question.target_ms
                is_met = is_met and is_in_time
                verdict = "" if is_in_time else "  MISSED"
                print(f"  {question.name:34} {median_ms:7.1f} ms  (target {question.target_ms:.0f} ms){verdict}")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else N_OPERATIONS))
