"""How PyTorch may run: an explicit number of threads, deterministic algorithms only; and on what it runs."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

_CPU_INFO = Path("/proc/cpuinfo")


@contextmanager
def torch_runtime(threads: int) -> Iterator[None]:
    """Run the block with `threads` torch threads and deterministic algorithms, then restore both.

    Torch's default takes every core, which costs an order of magnitude as soon as two processes share them.

    Raises:
        ValueError: `threads` is below 1.
    """
    if threads < 1:
        raise ValueError(f"need threads >= 1, was {threads!r}")
    threads_before = torch.get_num_threads()
    mode_before = torch.get_deterministic_debug_mode()
    new_memory: Any = torch.utils.deterministic  # a module that makes its one attribute when imported
    filled_before = new_memory.fill_uninitialized_memory
    torch.set_num_threads(threads)
    # The same switch as use_deterministic_algorithms, which imports torch's compiler (4 s, 200 MB) on the way.
    torch.set_deterministic_debug_mode("error")
    # That mode also fills every new tensor with NaN, a tenth of a small batch's time. Nothing here reads what it has
    # not written.
    new_memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        new_memory.fill_uninitialized_memory = filled_before
        torch.set_deterministic_debug_mode(mode_before)
        torch.set_num_threads(threads_before)


def machine_identity(threads: int) -> dict[str, str]:
    """Return what decides how sums are rounded: two processes that agree on it compute the same bits."""
    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "threads": str(threads),
    }


def _processor() -> str:
    try:
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
