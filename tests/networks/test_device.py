"""Fits on torch's `meta` device, which computes nothing, in place of a GPU: every tensor of a fit lies there.

What a fit would read back from the device is answered with zeros. That CUDA computes the same is not shown by this.
"""

from collections import defaultdict

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ktrdr.errors import OperationFailed
from ktrdr.fuzzy.variable import fit_partition
from ktrdr.networks.anfis import AnfisShape, AnfisStack
from ktrdr.networks.chance import NetworkKey
from ktrdr.networks.checkpoint import FitCheckpoint, read_checkpoint
from ktrdr.networks.fit import FitRows, FitSettings, NetworkTask, fit_stack, start_state
from ktrdr.networks.mlp import MlpShape, MlpStack
from ktrdr.networks.rule_frame import build_frame
from ktrdr.networks.runtime import choose_device, machine_identity, torch_runtime

SETTINGS = FitSettings(epochs=3, batch_size=64, learning_rate=0.01, patience=3, device="meta")
N_ROWS = (230, 97)
TASKS = [NetworkTask("", NetworkKey(7, (part, seed)), part) for part in range(2) for seed in range(2)]
STACKS = {
    "mlp": MlpStack(MlpShape(3, (8, 4), dropout=0.2)),
    "anfis": AnfisStack(AnfisShape((0, 0, 1, 1, 2, 2), 8, learns_memberships=True)),
}


class Devices(TorchDispatchMode):
    """Notes on which devices each operation finds its tensors, and refuses one that finds them on two."""

    def __init__(self):
        super().__init__()
        self.of_operation = defaultdict(set)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = {leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        assert len(found) <= 1, f"{function} mixes {found}"
        self.of_operation[str(function)] |= found
        return function(*args, **(kwargs or {}))


def part(n_rows, seed):
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((n_rows + 40, 3))
    variables = [fit_partition(f"v{i}", ["low", "high"], values[:, i]) for i in range(3)]
    inputs, targets = values.astype(np.float32), (values[:, 0] > 0).astype(np.float32)
    frame = build_frame(variables, np.zeros(3), np.ones(3), values, most_rules=8)
    return FitRows(inputs[:n_rows], targets[:n_rows], inputs[n_rows:], targets[n_rows:], frame)


@pytest.fixture
def nothing_to_read(monkeypatch):
    """Answer zeros for what is on `meta`."""
    for name in ("cpu", "tolist"):
        real = getattr(torch.Tensor, name)

        def read(tensor, real=real):
            return real(torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor)

        monkeypatch.setattr(torch.Tensor, name, read)


@pytest.mark.parametrize("kind", STACKS)
def test_a_fit_keeps_to_its_device_from_the_first_weights_to_the_checkpoint(kind, nothing_to_read):
    rows = [part(n_rows, seed) for seed, n_rows in enumerate(N_ROWS)]
    kept = []
    with torch_runtime(1), Devices() as devices:
        state = fit_stack(STACKS[kind], rows, TASKS, SETTINGS, on_epoch=lambda now: kept.append(FitCheckpoint(now, {})))
        start = start_state(STACKS[kind], rows, TASKS, "meta")
        resumed = read_checkpoint(kept[0].to_bytes(), identity={}, like=start).state
        fit_stack(STACKS[kind], rows, TASKS, SETTINGS, on_epoch=lambda _: None, state=resumed)
    assert state.epoch == 3
    for found in (state, resumed):
        tensors = (found.parameters, found.best_parameters, found.adam.first, found.adam.second, found.adam.n_updates)
        assert {tensor.device.type for tensor in tensors} == {"meta"}
    on_cpu = state.on_cpu()
    assert {tensor.device.type for tensor in (on_cpu.parameters, on_cpu.best_parameters, on_cpu.adam.first)} == {"cpu"}
    # All that takes time: products, the update, the loss, the choice of rows.
    for operation in ("baddbmm", "bmm", "lerp_", "addcmul_", "sigmoid", "softplus", "index_select"):
        assert devices.of_operation[f"aten.{operation}.{_overload(operation)}"] == {"meta"}, operation


def _overload(operation):
    return "Scalar" if operation == "lerp_" else "default"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to use")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused():
    assert (choose_device("auto"), choose_device("cpu")) == ("cpu", "cpu")
    with pytest.raises(OperationFailed, match=r"need a CUDA GPU for KTRDR_DEVICE=cuda.* set KTRDR_DEVICE=auto") as none:
        choose_device("cuda")
    assert none.value.reason == "device_unavailable"
    assert machine_identity(1, "cpu")["device"] == "cpu"
