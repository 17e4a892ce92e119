"""What tracing costs a demo cycle, with and without a collector, in turns: `python benchmarks/bench_tracing.py [N]`.

Two laboratories, each a server with a worker, run the same offline cycles one after the other; only one of them is told
of a collector, a real OTLP/gRPC receiver in this process. A pair of cycles has the same seed and follows the same
history, and who goes first alternates.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fakes.otlp_receiver import OtlpReceiver

TARGET = 1.01
COMMAND = [sys.executable, "-m", "ktrdr.cli"]


class Laboratory:
    """A workspace with the samples, a server and its one worker."""

    def __init__(self, folder: Path, more: dict[str, str]) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("KTRDR_", "OTEL_"))}
        environment = {**own, "KTRDR_WORKSPACE": str(folder), **more}
        self._server = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        assert self._server.stdout is not None
        url = json.loads(self._server.stdout.readline())["url"]
        self._http = httpx.Client(base_url=f"{url}/api/v1", trust_env=False, timeout=30)

    def cycle_s(self, seed: int) -> float:
        """Run a cycle and return how long it took by its own times."""
        asked = {"seed": seed, "model": "offline", "bypass_gates": True}
        path = f"/operations/{self._http.post('/agent/trigger', json=asked).json()['operation_id']}"
        while (cycle := self._read(path))["status"] in ("pending", "running"):
            time.sleep(0.1)
        assert cycle["status"] == "completed", cycle
        began, ended = (datetime.fromisoformat(cycle[name]) for name in ("created_at", "completed_at"))
        return (ended - began).total_seconds()

    def close(self) -> None:
        """End the server with its worker."""
        self._http.close()
        self._server.terminate()
        self._server.wait(20)
        assert self._server.stdout is not None
        self._server.stdout.close()

    def _read(self, path: str) -> dict[str, Any]:
        document: dict[str, Any] = self._http.get(path).json()
        return document


def main(pairs: int) -> int:
    """Print the medians and the ratio; return 1 where the target is missed."""
    receiver = OtlpReceiver()
    with tempfile.TemporaryDirectory() as folder:
        plain_folder, traced_folder = Path(folder) / "plain", Path(folder) / "traced"
        subprocess.run([*COMMAND, "--workspace", str(plain_folder), "data", "samples"], check=True, capture_output=True)
        shutil.copytree(plain_folder / "data", traced_folder / "data")
        plain = Laboratory(plain_folder, {})
        traced = Laboratory(traced_folder, {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url})
        times: dict[Laboratory, list[float]] = {plain: [], traced: []}
        for number in range(pairs + 1):
            for laboratory in (plain, traced) if number % 2 else (traced, plain):
                seconds = laboratory.cycle_s(17 + number)
                if number:  # the first one is for caches
                    times[laboratory].append(seconds)
        traced.close()
        plain.close()
    receiver.close()
    assert len(receiver.traces()) == pairs + 1
    ratio = statistics.median(with_it / without for with_it, without in zip(times[traced], times[plain], strict=True))
    print(
        f"A demo cycle: {statistics.median(times[traced]):.2f} s traced, {statistics.median(times[plain]):.2f} s not, "
        f"median ratio {ratio:.3f} over {pairs} pairs (target {TARGET}); {len(receiver.spans)} spans received"
    )
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 12))
