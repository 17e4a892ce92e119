"""The honesty of the laboratory, measured: `python -m benchmarks.honesty --help`.

Every finished part is a line of a file in `build/honesty`, so that a run that was killed goes on where it stood. At the
end the results go to docs/honesty/results.json, and docs/honesty.md with its plots is made from them.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from time import monotonic

from benchmarks.honesty.document import write_document
from benchmarks.honesty.summary import broken_claims, machine_words, summarise
from benchmarks.honesty.tasks import Document, Plan, plan_tasks

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "honesty" / "results.json"
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS")


def main() -> int:
    """Do what is not done yet, write the results and the document; 1 where a claim does not hold."""
    arguments = _arguments()
    # A part that was done at another scale is another part.
    run = f"seed_{arguments.seed}_scale_{arguments.scale:g}_designs_{arguments.designs}"
    lines = ROOT / "build" / "honesty" / f"{run}.jsonl"
    lines.parent.mkdir(parents=True, exist_ok=True)
    if arguments.afresh:
        lines.unlink(missing_ok=True)
    scale = arguments.scale
    plan = Plan(
        searches=arguments.searches,
        designs=arguments.designs,
        power_draws=max(4, round(80 * scale)),
        machine_draws=max(2, round(20 * scale)),
        random_draws=max(6, round(600 * scale)),
        copies_searches=max(4, round(200 * scale)),
        losers_draws=max(4, round(200 * scale)),
        shared=arguments.more_series,
    )
    tasks = plan_tasks(arguments.seed, plan)
    done = _read(lines)
    left = {key: task for key, task in tasks.items() if key not in done}
    print(f"seed {arguments.seed}: {len(tasks)} parts, {len(tasks) - len(left)} done before; lines go to {lines}")
    started = monotonic()
    with lines.open("a") as file:
        for number, (key, document) in enumerate(_run(left, arguments.workers, arguments.hours), 1):
            done[key] = document
            file.write(json.dumps({"key": key, **document}) + "\n")
            file.flush()
            if number % 20 == 0 or not key.startswith("search/"):
                print(f"{monotonic() - started:6.0f} s, {number} of {len(left)}: {key}", flush=True)
    about = {
        "seed": arguments.seed,
        "date": datetime.now(UTC).date().isoformat(),
        "command": _command(arguments),
        "machine": machine_words(),
        "workers": arguments.workers,
        "planned_searches": arguments.searches,
    }
    results = summarise({key: done[key] for key in tasks if key in done}, about)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    write_document(results, ROOT / "docs")
    broken = broken_claims(results)
    for claim in broken:
        print(f"does not hold: {claim}", file=sys.stderr)
    print(f"docs/honesty.md and {RESULTS.relative_to(ROOT)} were written")
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.honesty", description=__doc__)
    parser.add_argument("--searches", type=int, default=510, help="adaptive searches on noise (510)")
    parser.add_argument("--designs", type=int, default=4, help="rounds of a design and a sweep in each search (4)")
    parser.add_argument("--hours", type=float, default=None, help="begin nothing more after so many hours")
    parser.add_argument("--seed", type=int, default=20260101, help="what every draw derives from")
    parser.add_argument("--scale", type=float, default=1.0, help="of the draws of everything but the searches (1.0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--afresh", action="store_true", help="forget what an earlier run of this seed has done")
    parser.add_argument("--more-series", type=Path, default=None, help="a folder with GOOG_1d and BTCUSD_1d.parquet")
    return parser.parse_args()


def _command(arguments: argparse.Namespace) -> str:
    """Return the command to repeat the run with; where a folder lies is nobody's business."""
    options = [f"--searches {arguments.searches}", f"--designs {arguments.designs}", f"--scale {arguments.scale:g}"]
    options += [] if arguments.more_series is None else ["--more-series FOLDER"]
    return " ".join(["python -m benchmarks.honesty", f"--seed {arguments.seed}", *options])


def _read(lines: Path) -> dict[str, Document]:
    """Return what was done; a line that a killed run left half-written is not."""
    done: dict[str, Document] = {}
    for line in lines.read_text().splitlines() if lines.exists() else []:
        try:
            document = json.loads(line)
        except ValueError:
            continue
        done[document.pop("key")] = document
    return done


def _run(
    tasks: dict[str, Callable[[], Document]], n_workers: int, hours: float | None
) -> Iterator[tuple[str, Document]]:
    """Do the tasks in processes of low priority and yield each as it ends."""
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    deadline = None if hours is None else monotonic() + 3600 * hours
    waiting = iter(tasks.items())
    running: dict[Future[Document], str] = {}
    with ProcessPoolExecutor(n_workers, get_context("spawn"), initializer=os.nice, initargs=(10,)) as pool:
        while True:
            while len(running) < n_workers + 1 and (deadline is None or monotonic() < deadline):
                key, task = next(waiting, (None, None))
                if key is None or task is None:
                    break
                running[pool.submit(task)] = key
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


if __name__ == "__main__":
    sys.exit(main())
