"""What the processes that this one started use, as /proc tells. Each job is the leader of a group of its own."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class ChildUse:
    """Resident bytes of the jobs that run now, by module; processor seconds of all jobs so far, ended ones too."""

    memory_bytes: Mapping[str, int]
    cpu_s: float


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    group: int
    cpu_s: float  # with that of its own children that have ended
    memory_bytes: int


def child_use() -> ChildUse:
    """Read what the children of this process use, and whatever those started."""
    me = os.getpid()
    # First what has ended: one that ends meanwhile is missed once, and not counted twice.
    ended = os.times()
    found = {pid: process for pid in _pids() if (process := _read(pid)) is not None}
    jobs = {pid: module for pid, process in found.items() if process.parent == me and (module := _module(pid))}
    memory = dict.fromkeys(jobs.values(), 0)
    cpu_s = ended.children_user + ended.children_system
    for process in found.values():
        module = jobs.get(process.group)
        if module is not None:
            memory[module] += process.memory_bytes
            cpu_s += process.cpu_s
    return ChildUse(memory, cpu_s)


def _pids() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def _read(pid: int) -> _Process | None:
    try:
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None  # it has just ended
    # Counted from the third field of proc(5): 3 is the state.
    ticks = sum(int(fields[number - 3]) for number in (14, 15, 16, 17))
    return _Process(int(fields[1]), int(fields[2]), ticks / _TICKS_PER_S, int(fields[24 - 3]) * _PAGE_BYTES)


def _module(pid: int) -> str | None:
    """Return the module that a Python process was started with, None where it is no such process."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    return words[words.index("-m") + 1] if "-m" in words[:-1] else None
