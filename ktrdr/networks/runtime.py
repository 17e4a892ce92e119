"""How PyTorch may run: on which device, with how many threads, by deterministic algorithms; and what that rests on."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from ktrdr.errors import OperationFailed

CPU: Final = "cpu"
CUDA: Final = "cuda"
AUTO: Final = "auto"
_CPU_INFO = Path("/proc/cpuinfo")


def choose_device(asked: str) -> str:
    """Return `cpu` or `cuda`, for `auto` the latter where PyTorch sees such a GPU.

    Apple's GPUs (MPS) are passed over: they have no float64, in which losses are measured.

    Raises:
        OperationFailed: `device_unavailable`: `cuda` is asked for, and there is none.
    """
    if asked == CPU:
        return CPU
    if torch.cuda.is_available():
        return CUDA
    if asked == AUTO:
        return CPU
    build = f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "was built without CUDA"
    raise OperationFailed(
        f"need a CUDA GPU for KTRDR_DEVICE={asked}, and PyTorch sees none here: torch {torch.__version__} {build}; "
        "set KTRDR_DEVICE=auto or cpu, or mend the driver or the installation of torch",
        reason="device_unavailable",
    )


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


def machine_identity(threads: int, device: str) -> dict[str, str]:
    """Return what decides how sums are rounded: two processes that agree on it compute the same bits."""
    of_device = {"device": device}
    if device == CUDA:
        of_device |= {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    return {
        **of_device,
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
