from collections.abc import Iterator

import pytest

from ktrdr.networks.runtime import torch_runtime


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # Two threads of PyTorch wait for each other by spinning: with other processes about, tests would crawl.
    with torch_runtime(1):
        yield
