"""A laboratory that can be besieged: the real API and real workers on one workspace, each stopped or killed at will.

    with BesiegedLaboratory(folder, provider_url, postgres=server) as laboratory:
        laboratory.open()
        laboratory.ask("POST", "/agent/trigger", {"brief": "chaos 1"})

Where a filesystem can be mounted the workspace has a small one of its own, which can be filled.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
from private_postgres import server_binaries

KTRDR = [sys.executable, "-m", "ktrdr.cli"]
DISK_BYTES = 192 * 1024 * 1024
GRACE_S = 2.0
START_PATIENCE_S, STOP_PATIENCE_S = 30.0, 8.0
SETTINGS = {
    "ANTHROPIC_API_KEY": "sk-ant-chaos",
    "KTRDR_AGENT_MAX_CONCURRENT_CYCLES": "4",
    "KTRDR_AGENT_DAILY_BUDGET_USD": "100",
    "KTRDR_AGENT_CALL_TIMEOUT_S": "4",
    "KTRDR_AGENT_RETRY_BACKOFF_S": "0.05",
    "KTRDR_AGENT_PHASE_BACKOFF_S": "0.2",
    "KTRDR_CHECKPOINT_INTERVAL_S": "0.2",
    "KTRDR_WORKER_GRACE_S": str(GRACE_S),
}


class BesiegedLaboratory:
    """Processes of one workspace: a server without workers, and workers by their place, from 0."""

    def __init__(self, folder, provider_url, *, n_workers, postgres=None, template=None, **settings):
        self.folder = folder / "workspace"
        self.folder.mkdir()
        self.has_own_disk = _mount(self.folder)
        self.postgres = postgres
        self.database_name = None if postgres is None else postgres.new_database(template=template)
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("KTRDR_", "ANTHROPIC_", "OPENAI_"))
        }
        self.environment = {**inherited, **SETTINGS, **settings, "KTRDR_WORKSPACE": str(self.folder)}
        self.environment["ANTHROPIC_BASE_URL"] = provider_url
        if postgres is not None:
            self.environment["KTRDR_DATABASE_URL"] = postgres.url(self.database_name)
        self.workers = [None] * n_workers
        self.api = None
        self.url = None
        self.broken_answers = []
        self._logs = folder / "processes"
        self._logs.mkdir()
        self._n_processes = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in filter(None, (self.api, *self.workers)):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for pid in processes_of(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.postgres is not None:
            self.postgres.drop_database(self.database_name)
        if self.has_own_disk:
            subprocess.run(["umount", "--lazy", self.folder], check=True)

    def start_api(self):
        """Start the server; it has the same address each time."""
        port = "0" if self.url is None else self.url.rpartition(":")[2]
        self.api = self._spawn("api", "serve", "--workers", "0", "--port", port)

    def start_worker(self, place):
        """Start a worker in a place that is empty, or whose worker has died."""
        self.workers[place] = self._spawn(f"worker-{place}", "worker")

    def open(self):
        """Start everything and wait until it works."""
        self.start_api()
        announcement = self._wait_for_words(self.api, r"at (http://[\d.]+:\d+)")
        self.url = announcement.group(1)
        for place in range(len(self.workers)):
            self.start_worker(place)
        for worker in self.workers:
            self._wait_for_words(worker, r'"worker": "')

    def ask(self, method, path, document=None):
        """Send a request. Returns the answer, None where there was none; one that is a fault of ours is kept."""
        try:
            answer = httpx.request(method, f"{self.url}/api/v1{path}", json=document, timeout=20, trust_env=False)
        except httpx.TransportError:
            return None  # the server is away
        if answer.status_code == 500 or "Traceback" in answer.text:
            self.broken_answers.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer

    def run_command(self, *arguments):
        """Run a command of the CLI and return what it prints."""
        done = subprocess.run(
            [*KTRDR, *arguments], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self):
        """Stop everything in order. Returns what did not stop, or ended otherwise than in order."""
        found = []
        processes = [process for process in (*self.workers, self.api) if process is not None]
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                code = process.wait(STOP_PATIENCE_S)
            except subprocess.TimeoutExpired:
                found.append(f"{process.args[3]} did not stop")
            else:
                found += [f"{process.args[3]} ended with {code}"] if code else []
        return found

    def fill_disk(self):
        """Use up the workspace's own filesystem."""
        status = os.statvfs(self.folder)
        with suppress(OSError), (self.folder / "ballast").open("ab") as file:  # it may be full already
            os.posix_fallocate(file.fileno(), file.tell(), max(1, status.f_bavail * status.f_frsize))

    def empty_disk(self):
        """Make room again."""
        (self.folder / "ballast").unlink(missing_ok=True)

    def keep(self, target):
        """Copy what there is to look at later: the workspace, and its database where that is a server's."""
        self.empty_disk()
        shutil.copytree(self.folder, target)
        if self.postgres is not None:
            address = self.postgres.url(self.database_name).replace("+psycopg", "")
            command = [server_binaries() / "pg_dump", "--dbname", address, "--file", target / "database.sql"]
            subprocess.run(command, check=True)

    def _spawn(self, name, *arguments):
        self._n_processes += 1
        path = self._logs / f"{self._n_processes:03d}-{name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [*KTRDR, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        process.log = path
        return process

    def _wait_for_words(self, process, pattern):
        deadline = time.monotonic() + START_PATIENCE_S
        while not (found := re.search(pattern, process.log.read_text())):
            assert process.poll() is None, process.log.read_text()
            assert time.monotonic() < deadline, process.log.read_text()
            time.sleep(0.05)
        return found


def processes_of(workspace, module=""):
    """Return the living processes of a workspace by their pids: the command of each; `module`: part of it."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (path / "cmdline").read_bytes(), (path / "environ").read_bytes()
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        words = command.replace(b"\0", b" ").decode(errors="replace").strip()
        if f"KTRDR_WORKSPACE={workspace}\0".encode() in environment + b"\0" and state != "Z" and module in words:
            found[int(path.name)] = words
    return found


def _mount(folder):
    """Give a folder a small filesystem of its own; returns whether that can be done here."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
