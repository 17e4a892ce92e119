"""`ktrdr mcp` as a client has it: the real command in a process, spoken to by the official client.

The folder is not called `mcp`: on the path of the tests it would stand before the library of this name.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

SECRET = "sk-ant-planted-0123456789"
STRATEGY = {
    "schema": 1,
    "name": "slow_rsi_reversion",
    "hypothesis": "An oversold RSI reverts within a week, because sellers run out.",
    "market": {"symbols": ["SPX"], "timeframe": "1d"},
    "indicators": {"rsi": {"type": "RSI", "timeperiod": 14}},
    "fuzzy_sets": {"rsi": {"input": "rsi", "partition": ["low", "middle", "high"]}},
    "labels": {"type": "forward_return", "horizon": 5},
    "training": {"epochs": 3, "seeds": 1},
    "decision": {"enter": 0.5, "exit": 0.5},
}


class Session:
    """One connected client; remembers everything it was answered."""

    def __init__(self, client):
        self.client = client
        self.progress = []

    async def call(self, tool, **arguments):
        """Return what a tool answers; it must not be an error."""
        result = await self.attempt(tool, **arguments)
        assert not result.is_error, result.content[0].text
        assert json.loads(result.content[0].text) == result.structured_content
        return result.structured_content

    async def refusal(self, tool, **arguments):
        """Return the reason and the words of a call that must fail."""
        result = await self.attempt(tool, **arguments)
        assert result.is_error
        return result.structured_content["reason"], result.content[0].text

    async def attempt(self, tool, **arguments):
        async def remember(progress, total, message):
            self.progress.append((progress, total, message))

        result = await self.client.call_tool(tool, arguments, progress_callback=remember)
        said = result.model_dump_json()
        assert SECRET not in said
        assert "Traceback" not in said
        return result


class Laboratory:
    """A workspace with the samples, and the command that serves it."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("KTRDR_", "ANTHROPIC_", "OPENAI_"))
        }
        self.environment |= {
            "KTRDR_WORKSPACE": str(folder / "workspace"),
            "ANTHROPIC_API_KEY": SECRET,
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:1",  # nobody answers there
            "KTRDR_AGENT_RETRY_BACKOFF_S": "0.01",
            # No gate may end a cycle whose strategy is only fast to train.
            "KTRDR_GATE_MIN_ACCURACY": "0",
            "KTRDR_GATE_MAX_FINAL_LOSS": "99",
            "KTRDR_GATE_MIN_PROFIT_FACTOR": "0",
            "KTRDR_GATE_MAX_DRAWDOWN": "1",
            "KTRDR_GATE_MIN_SHARPE_RATIO": "-99",
        }

    @property
    def command(self):
        return [sys.executable, "-m", "ktrdr.cli", "mcp"]

    @asynccontextmanager
    async def over_stdio(self):
        """Start the command as Claude Desktop does, with the handshake that it knows."""
        program, *arguments = self.command
        parameters = StdioServerParameters(command=program, args=arguments, env=self.environment)
        with (self.folder / "stderr").open("a") as log:
            async with Client(stdio_client(parameters, errlog=log), mode="legacy") as client:
                yield Session(client)

    def start_http(self):
        """Start the command on a free port and return its process and its address."""
        with (self.folder / "stderr").open("a") as log:
            process = subprocess.Popen(
                [*self.command, "--transport", "http", "--port", "0", "--json"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self.environment,
            )
        return process, json.loads(process.stdout.readline())["url"]

    def processes(self):
        """Return the pids of what still works in this workspace."""
        mark = f"KTRDR_WORKSPACE={self.environment['KTRDR_WORKSPACE']}".encode()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.append(int(pid))
            except OSError:
                continue
        return found

    def is_deserted(self):
        """Return whether nothing works here any more, a few seconds after its client has gone."""
        deadline = time.monotonic() + 10
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.processes()

    def stderr(self):
        return (self.folder / "stderr").read_text()
