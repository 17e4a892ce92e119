"""How PyTorch may run: an explicit number of threads, deterministic algorithms only."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
    torch.set_num_threads(threads)
    # The same switch as use_deterministic_algorithms, which imports torch's compiler (4 s, 200 MB) on the way.
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode_before)
        torch.set_num_threads(threads_before)
