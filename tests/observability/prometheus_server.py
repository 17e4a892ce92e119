"""A real Prometheus of one's own: on a free port of the loopback address, with a generated configuration."""

import json
import math
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

HOW_TO_INSTALL = "no prometheus or promtool on the PATH: apt-get install prometheus"
_READY_WITHIN_S = 15.0


def is_installed() -> bool:
    """Whether the server and its tool are on this machine."""
    return shutil.which("prometheus") is not None and shutil.which("promtool") is not None


def check_metrics(text: str) -> str:
    """Return what `promtool check metrics` finds wrong with an answer of `/metrics`; nothing is empty."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=20)
    return done.stdout + done.stderr


class PrometheusServer:
    """A running server that scrapes once a second.

    Args:
        folder: An empty folder of its own.
        targets: The addresses (`host:port`) to scrape, by job.
        rules: Files of recording and alert rules.
        token: What it shows its targets.
    """

    def __init__(
        self,
        folder: Path,
        targets: Mapping[str, Sequence[str]],
        *,
        rules: Sequence[Path] = (),
        token: str | None = None,
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        shown = {} if token is None else {"authorization": {"credentials": token}}
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(addresses)}], **shown}
                for job, addresses in targets.items()
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
        self._log = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={address}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._http = httpx.Client(base_url=f"http://{address}", timeout=10)
        self._wait_until_ready(folder)

    def query(self, expression: str, *, by: str = "") -> dict[tuple[str, ...], float]:
        """Return the present values of an expression, by the values of some labels: `query(e, by="outcome,job")`."""
        names = [name for name in by.split(",") if name]
        found = self._ask("query", query=expression)
        values = found["result"] if found["resultType"] == "vector" else [{"metric": {}, "value": found["result"]}]
        return {
            tuple(each["metric"].get(name, "") for name in names): float(each["value"][1])  # a time and a value
            for each in values
        }

    def value(self, expression: str) -> float:
        """Return the one value of an expression."""
        (value,) = self.query(expression).values()
        return value

    def query_range(self, expression: str, *, last_s: float, step_s: float = 1.0) -> list[list[float]]:
        """Return the values of each series of an expression over the last seconds."""
        now = time.time()
        found = self._ask("query_range", query=expression, start=now - last_s, end=now, step=step_s)
        return [[float(value) for _, value in series["values"]] for series in found["result"]]

    def has_finite_data(self, expression: str, *, last_s: float = 60.0) -> bool:
        """Whether an expression has any value that can be drawn."""
        return any(math.isfinite(value) for series in self.query_range(expression, last_s=last_s) for value in series)

    def wait_for_scrape(self, job: str, timeout_s: float = 10.0) -> None:
        """Wait until a scrape of a job that begins from now on has succeeded."""
        asked_at, deadline = time.time(), time.monotonic() + timeout_s
        up = f'up{{job="{job}"}}'
        # Of a bare selector the time is that of the sample, of anything else that of the question.
        while not any(at > asked_at for at in self.query(f"timestamp({up}) and {up} == 1").values()):
            assert time.monotonic() < deadline, f"no scrape of {job} within {timeout_s:g} s"
            time.sleep(0.1)

    def close(self) -> None:
        """End the server."""
        self._http.close()
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _ask(self, what: str, **parameters: object) -> dict:
        answer = self._http.post(f"/api/v1/{what}", data=parameters).json()
        assert answer["status"] == "success", f"{parameters['query']}: {answer.get('error')}"
        return answer["data"]

    def _wait_until_ready(self, folder: Path) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while True:
            try:
                if self._http.get("/-/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            log = folder / "prometheus.log"
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise AssertionError(f"prometheus did not become ready:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
