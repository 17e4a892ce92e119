"""What a rule network costs against the fixed multilayer perceptron, interleaved in one process; prints ratios.

    python benchmarks/bench_training.py

50,000 rows, seven inputs with three sets each (21 memberships), batch 256, 18 networks in a stack as a training has
them. The target of `anfis` with 32 rules is at most 2.8 times the cost of the perceptron [32, 16] without dropout.
"""

import statistics
import sys
import time

import numpy as np

from ktrdr.fuzzy.variable import fit_partition
from ktrdr.networks.anfis import AnfisShape, AnfisStack
from ktrdr.networks.chance import NetworkKey
from ktrdr.networks.fit import FitRows, FitSettings, NetworkTask, fit_stack
from ktrdr.networks.mlp import MlpShape, MlpStack
from ktrdr.networks.rule_frame import build_frame
from ktrdr.networks.runtime import torch_runtime
from ktrdr.networks.stack import NetworkStack

N_ROWS, N_INPUTS, N_SETS, N_NETWORKS, N_ROUNDS = 50_000, 7, 3, 18, 5
LIMIT = 2.8


def main() -> None:
    """Time every kind of network in turn and print its cost relative to the first."""
    generator = np.random.default_rng(1)
    values = generator.standard_normal((N_ROWS, N_INPUTS))
    targets = (generator.random(N_ROWS) < 0.5).astype(np.float32)
    variables = [fit_partition(f"v{i}", [f"s{j}" for j in range(N_SETS)], values[:, i]) for i in range(N_INPUTS)]
    memberships = np.hstack([variable.memberships(values[:, i]) for i, variable in enumerate(variables)])
    columns, inputs = memberships.astype(np.float32), values.astype(np.float32)
    zero, one = np.zeros(N_INPUTS), np.ones(N_INPUTS)
    frame = build_frame(variables, zero, one, values, most_rules=32)
    owners = tuple(i for i in range(N_INPUTS) for _ in range(N_SETS))
    cut = N_ROWS * 85 // 100
    seen = FitRows(columns[:cut], targets[:cut], columns[cut:], targets[cut:])
    raw = FitRows(inputs[:cut], targets[:cut], inputs[cut:], targets[cut:], frame)
    contestants: dict[str, tuple[NetworkStack, FitRows]] = {
        "mlp [32, 16]": (MlpStack(MlpShape(N_INPUTS * N_SETS, (32, 16))), seen),
        "mlp [32, 16], dropout 0.1": (MlpStack(MlpShape(N_INPUTS * N_SETS, (32, 16), 0.1)), seen),
        "anfis 32, sets as given": (AnfisStack(AnfisShape(owners, 32, False)), raw),
        "anfis 32, sets learned": (AnfisStack(AnfisShape(owners, 32, True)), raw),
    }
    tasks = [NetworkTask(f"network {i}", NetworkKey(1, (i,)), 0) for i in range(N_NETWORKS)]
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    with torch_runtime(1):
        for _ in range(N_ROUNDS):
            for name, (stack, rows) in contestants.items():
                start = time.perf_counter()
                fit_stack(stack, [rows], tasks, FitSettings(1, 256, 0.003, 1), on_epoch=lambda _: None)
                seconds[name].append(time.perf_counter() - start)
    reference = seconds["mlp [32, 16]"]
    for name, taken in seconds.items():
        ratio = statistics.median(own / base for own, base in zip(taken, reference, strict=True))
        rate = cut * N_NETWORKS / statistics.median(taken) / 1000
        sys.stdout.write(f"{name:28} {rate:8.0f} thousand samples/s   cost {ratio:.2f}\n")
    learned = statistics.median(
        own / base for own, base in zip(seconds["anfis 32, sets learned"], reference, strict=True)
    )
    sys.stdout.write(f"anfis 32 against the fixed mlp: {learned:.2f}, at most {LIMIT}\n")
    if learned > LIMIT:
        sys.exit(1)


if __name__ == "__main__":
    main()
