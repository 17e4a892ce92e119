"""A workspace as a user has it: a folder, the real command, real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

KTRDR = [sys.executable, "-m", "ktrdr.cli"]


class Workspace:
    """A folder and the `ktrdr` command in it."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("KTRDR_", "ANTHROPIC_", "OPENAI_"))
        }
        self.environment["KTRDR_WORKSPACE"] = str(folder)
        self.processes = []

    def attempt(self, *arguments, timeout_s=90):
        """Run a command to its end and return it, however it ended; never with a trace."""
        done = subprocess.run(
            [*KTRDR, *arguments], capture_output=True, text=True, env=self.environment, timeout=timeout_s
        )
        assert "Traceback" not in done.stderr + done.stdout
        return done

    def run(self, *arguments, expect=0):
        """Run a command to its end and return it; its exit code must be the expected one."""
        done = self.attempt(*arguments)
        assert done.returncode == expect, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments, expect=0):
        """Run a command with --json and return the one document on its stdout."""
        return json.loads(self.run(*arguments, "--json", expect=expect).stdout)

    def start(self, *arguments):
        """Start a command that goes on."""
        process = subprocess.Popen(
            [*KTRDR, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def serve(self, port, *options):
        """Start a server and return it once it answers."""
        server = self.start("serve", "--port", str(port), "--json", *options)
        assert f":{port}" in server.stdout.readline()
        return server

    def wait_for(self, question, timeout_s=60):
        """Return what `question` answers as soon as it is true."""
        deadline = time.monotonic() + timeout_s
        while not (answer := question()):
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.1)
        return answer

    def job_pids(self, name):
        """Return the pids of this workspace's job processes of a kind."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                command = (path / "cmdline").read_bytes()
                environment = (path / "environ").read_bytes()
            except OSError:
                continue
            if f"ktrdr.jobs.{name}".encode() in command and str(self.folder).encode() in environment:
                found.append(int(path.name))
        return found

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
