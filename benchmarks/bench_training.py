"""Training beside torch's DataLoader, scikit-learn and the machine: `python -m benchmarks.bench_training [ROUNDS]`.

50,000 rows, seven inputs with three sets each (21 memberships), the perceptron [32, 16] without dropout, one epoch,
one thread for every contestant. Ours also measures its validation
rows after the epoch; the peers see the fitted rows only.
"""

import functools
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.side_by_side import ROUNDS, Row, cheaper, faster, of_limit, show, take_turns, timed
from ktrdr.fuzzy.variable import fit_partition
from ktrdr.networks.anfis import AnfisShape, AnfisStack
from ktrdr.networks.chance import NetworkKey
from ktrdr.networks.fit import FitRows, FitSettings, NetworkTask, fit_stack
from ktrdr.networks.mlp import MlpShape, MlpStack
from ktrdr.networks.rule_frame import build_frame
from ktrdr.networks.runtime import torch_runtime
from ktrdr.networks.stack import NetworkStack

N_ROWS, N_INPUTS, N_SETS, HIDDEN = 50_000, 7, 3, (32, 16)
N_FITTED = N_ROWS * 85 // 100
N_STACKED, N_OF_TRAINING = 16, 18  # the second is how many networks a training stacks
LEARNING_RATE = 0.003
WIDTHS = (N_INPUTS * N_SETS, *HIDDEN, 1)
# Multiply and add, forward, and backward for weights and for what is below; nothing is below the inputs.
FLOP_A_SAMPLE = 2 * sum((3 if i else 2) * a * b for i, (a, b) in enumerate(pairwise(WIDTHS)))
GEMM_SIZE = 1_024


@dataclass(frozen=True)
class Task:
    """The rows as memberships, and as the values that a rule network reads."""

    seen: FitRows
    raw: FitRows


def make_task() -> Task:
    """Return seeded rows without any skill in them: the cost does not depend on it."""
    generator = np.random.default_rng(1)
    values = generator.standard_normal((N_ROWS, N_INPUTS))
    targets = (generator.random(N_ROWS) < 0.5).astype(np.float32)
    variables = [fit_partition(f"v{i}", [f"s{j}" for j in range(N_SETS)], values[:, i]) for i in range(N_INPUTS)]
    memberships = np.hstack([variable.memberships(values[:, i]) for i, variable in enumerate(variables)])
    frame = build_frame(variables, np.zeros(N_INPUTS), np.ones(N_INPUTS), values, most_rules=32)

    def cut(inputs: NDArray[np.float64]) -> tuple[NDArray[np.float32], ...]:
        single = inputs.astype(np.float32)
        return single[:N_FITTED], targets[:N_FITTED], single[N_FITTED:], targets[N_FITTED:]

    return Task(FitRows(*cut(memberships)), FitRows(*cut(values), frame))


def fit_ours(stack: NetworkStack, rows: FitRows, n_networks: int, batch_size: int) -> None:
    """Fit for one epoch."""
    tasks = [NetworkTask(f"network {i}", NetworkKey(1, (i,)), 0) for i in range(n_networks)]
    fit_stack(stack, [rows], tasks, FitSettings(1, batch_size, LEARNING_RATE, 1), on_epoch=lambda _: None)


def fit_with_loader(rows: FitRows, batch_size: int) -> None:
    """Fit one epoch as torch's own tutorial does."""
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out in pairwise(WIDTHS):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loss_of = torch.nn.BCEWithLogitsLoss()
    dataset = TensorDataset(torch.from_numpy(rows.fitted_inputs), torch.from_numpy(rows.fitted_targets))
    for inputs, targets in DataLoader(dataset, batch_size=batch_size, shuffle=True):
        optimizer.zero_grad()
        loss_of(model(inputs).squeeze(1), targets).backward()
        optimizer.step()


def fit_with_sklearn(rows: FitRows, batch_size: int) -> None:
    """Fit one epoch of MLPClassifier."""
    peer = MLPClassifier(HIDDEN, batch_size=batch_size, max_iter=1, alpha=0.0, learning_rate_init=LEARNING_RATE)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # one epoch has not converged
        peer.fit(rows.fitted_inputs, rows.fitted_targets)


def gemm_seconds() -> float:
    """Return the seconds of one square product in single precision."""
    matrix = torch.ones(GEMM_SIZE, GEMM_SIZE)
    taken = []
    for _ in range(5):
        began = time.process_time()
        torch.mm(matrix, matrix)
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def bench_one(task: Task, rounds: int) -> list[Row]:
    """One network beside the peers."""
    fit = functools.partial(fit_ours, MlpStack(MlpShape(WIDTHS[0], HIDDEN)), task.seen, 1)
    turns: dict[str, Callable[[], float]] = {
        "gemm": gemm_seconds,
        "ours 256": timed(lambda: fit(256)),
        "loader 256": timed(lambda: fit_with_loader(task.seen, 256)),
        "sklearn 256": timed(lambda: fit_with_sklearn(task.seen, 256)),
        "ours 1024": timed(lambda: fit(1024)),
        "loader 1024": timed(lambda: fit_with_loader(task.seen, 1024)),
    }
    taken = take_turns(turns, rounds)
    limit = [N_FITTED * FLOP_A_SAMPLE / (2 * GEMM_SIZE**3) * seconds for seconds in taken["gemm"]]
    amounts = (N_FITTED / 1e3, N_FITTED / 1e3)
    return [
        faster(
            f"training, one network, batch {batch}",
            taken[f"ours {batch}"],
            taken[f"{peer} {batch}"],
            at_least=at_least,
            amounts=amounts,
            unit="samples",
            name=name,
            limit=limit,
        )
        for batch, peer, name, at_least in (
            (256, "loader", "torch DataLoader", 2.5),
            (1024, "loader", "torch DataLoader", 6.0),
            (256, "sklearn", "scikit-learn", 0.9),
        )
    ]


def bench_stacked(task: Task, rounds: int) -> list[Row]:
    """Sixteen networks in a stack beside one, and what they reach of a matrix product."""
    stack = MlpStack(MlpShape(WIDTHS[0], HIDDEN))
    turns: dict[str, Callable[[], float]] = {"gemm": gemm_seconds}
    for batch in (32, 256):
        for n in (1, N_STACKED):
            turns[f"{n} at {batch}"] = timed(functools.partial(fit_ours, stack, task.seen, n, batch))
    taken = take_turns(turns, rounds)
    done = N_FITTED * N_STACKED
    rows = [
        faster(
            f"training, {N_STACKED} stacked, batch {batch}",
            taken[f"{N_STACKED} at {batch}"],
            taken[f"1 at {batch}"],
            at_least=at_least,
            amounts=(done / 1e3, N_FITTED / 1e3),
            unit="samples",
            name="one network",
            limit=[done * FLOP_A_SAMPLE / (2 * GEMM_SIZE**3) * seconds for seconds in taken["gemm"]],
        )
        for batch, at_least in ((32, 5.0), (256, 2.5))
    ]
    reached = [done * FLOP_A_SAMPLE / seconds / 1e9 for seconds in taken[f"{N_STACKED} at 256"]]
    most = [2 * GEMM_SIZE**3 / seconds / 1e9 for seconds in taken["gemm"]]
    what = f"training, {N_STACKED} stacked, batch 256"
    return [*rows, of_limit(what, reached, most, at_least=0.04, unit="GFLOPS", name="matrix product")]


def bench_rules(task: Task, rounds: int) -> list[Row]:
    """A network of 32 rules beside the perceptron, as many as a training has."""
    owners = tuple(i for i in range(N_INPUTS) for _ in range(N_SETS))
    contestants: dict[str, tuple[NetworkStack, FitRows]] = {
        "fixed": (MlpStack(MlpShape(WIDTHS[0], HIDDEN)), task.seen),
        "as given": (AnfisStack(AnfisShape(owners, 32, False)), task.raw),
        "learned": (AnfisStack(AnfisShape(owners, 32, True)), task.raw),
    }
    taken = take_turns(
        {name: timed(functools.partial(fit_ours, *each, N_OF_TRAINING, 256)) for name, each in contestants.items()},
        rounds,
    )
    return [
        cheaper(
            f"anfis of 32 rules, sets {name}, batch 256",
            taken[name],
            taken["fixed"],
            at_most=2.8,
            unit="s",
            name="mlp [32, 16]",
        )
        for name in ("as given", "learned")
    ]


def rows(rounds: int = ROUNDS) -> list[Row]:
    """Measure every row of this layer."""
    task = make_task()
    with torch_runtime(1):
        return [*bench_one(task, rounds), *bench_stacked(task, rounds), *bench_rules(task, rounds)]


if __name__ == "__main__":
    sys.exit(show(rows(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)))
