"""Scraping `/metrics` among 100,000 stored operations: `python benchmarks/bench_metrics.py [N]`.

The first scrape adds up all that is stored; each later one must take at most 100 ms. `/health` is asked all the while:
nothing may block the API.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass

import httpx
from bench_operations import N_OPERATIONS, databases, store_rows

from ktrdr.api.app import close_app, create_app
from ktrdr.config import load_settings

ROUNDS, TARGET_MS = 30, 100
CYCLES_PER_OPERATION = 5  # a cycle and its four phases


@dataclass(frozen=True)
class Figures:
    """Milliseconds: the first scrape, the median of the later ones, `/health` at rest and while it is scraped."""

    first: float
    warm: float
    at_rest: float
    during_first: float
    during_warm: float
    cycles: float


async def timed(http: httpx.AsyncClient, path: str) -> tuple[float, str]:
    """Return how many milliseconds an answer took, and the answer."""
    began = time.perf_counter()
    answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    return 1000 * (time.perf_counter() - began), answer.text


async def ask_while(http: httpx.AsyncClient, working: asyncio.Task) -> list[float]:
    """Return how long `/health` took, again and again, as long as something else works."""
    times = []
    while not working.done():
        times.append((await timed(http, "/health"))[0])
        await asyncio.sleep(0.002)
    return times


async def measure(url: str) -> Figures:
    """Return the figures of an app on a database."""
    with tempfile.TemporaryDirectory() as workspace:
        app = create_app(load_settings({"KTRDR_WORKSPACE": workspace, "KTRDR_DATABASE_URL": url}))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", timeout=None
        ) as http:
            at_rest = [(await timed(http, "/health"))[0] for _ in range(ROUNDS)]
            first = asyncio.create_task(timed(http, "/metrics"))
            during_first = await ask_while(http, first)
            warm = [(await timed(http, "/metrics"))[0] for _ in range(ROUNDS)]

            async def scrape_again() -> str:
                for _ in range(ROUNDS):
                    _, text = await timed(http, "/metrics")
                return text

            again = asyncio.create_task(scrape_again())
            during_warm = await ask_while(http, again)
        close_app(app)
    told = [line for line in again.result().splitlines() if line.startswith("agent_cycles_total")]
    return Figures(
        first.result()[0],
        statistics.median(warm),
        statistics.median(at_rest),
        statistics.median(during_first),
        statistics.median(during_warm),
        sum(float(line.split()[-1]) for line in told),
    )


def main(n_operations: int) -> int:
    """Print the figures of each database; return 1 where a scrape takes too long or does not tell all cycles."""
    is_met = True
    with databases() as found:
        for name, url in found:
            store_rows(url, n_operations)
            figures = asyncio.run(measure(url))
            is_whole = figures.cycles == n_operations // CYCLES_PER_OPERATION
            is_met = is_met and is_whole and figures.warm <= TARGET_MS
            print(f"metrics, {name}, {n_operations} stored: median of {ROUNDS}")
            print(f"  first scrape        {figures.first:8.1f} ms  ({figures.cycles:.0f} cycles)")
            print(f"  later scrape, warm  {figures.warm:8.1f} ms  (target {TARGET_MS} ms)")
            print(
                f"  /health             {figures.at_rest:8.1f} ms at rest, {figures.during_first:.1f} ms during the "
                f"first scrape, {figures.during_warm:.1f} ms during later ones"
            )
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else N_OPERATIONS))
