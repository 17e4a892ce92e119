import numpy as np
import pytest
import torch

from ktrdr.fuzzy.shape import Shape
from ktrdr.fuzzy.variable import FuzzyVariable, fit_partition
from ktrdr.networks.anfis import AnfisShape, AnfisStack, learned_bells
from ktrdr.networks.chance import NetworkKey
from ktrdr.networks.checkpoint import FitCheckpoint, read_checkpoint
from ktrdr.networks.fit import FitRows, FitSettings, NetworkTask, fit_stack, start_state
from ktrdr.networks.rule_frame import build_frame
from ktrdr.networks.stack import padded_rows

N_NETWORKS = 3
CENTRES = (50.0, 2.0, 0.0, 10.0)
SPREADS = (15.0, 0.5, 1.0, 4.0)


def made_up_inputs(n_rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_rows, 4)) * SPREADS + CENTRES


FITTED = made_up_inputs(900, 1)
MEAN, DEVIATION = FITTED.mean(axis=0), FITTED.std(axis=0)
VARIABLES = (
    FuzzyVariable(
        "rsi",
        ("low", "middle", "high"),
        (
            Shape("trapezoid", (0, 0, 25, 45)),
            Shape("triangle", (30, 50, 70)),
            Shape("trapezoid", (55, 75, 100, 100)),
        ),
    ),
    FuzzyVariable("calm", ("near", "far"), (Shape("gaussian", (2.0, 0.3)), Shape("gaussian", (3.0, 0.4)))),
    fit_partition("trend", ("weak", "fair", "strong"), FITTED[:, 2]),
    fit_partition("place", ("below", "above"), FITTED[:, 3]),
)
OWNERS = (0, 0, 0, 1, 1, 2, 2, 2, 3, 3)


def frame(most_rules: int = 7):
    return build_frame(VARIABLES, MEAN, DEVIATION, FITTED, most_rules=most_rules)


def scaled(rows: np.ndarray) -> np.ndarray:
    return ((rows - MEAN) / DEVIATION).astype(np.float32)


def learned_parameters(stack: AnfisStack, n_networks: int = N_NETWORKS) -> torch.Tensor:
    """Parameters as training may leave them: everything that learns lies elsewhere than at the start."""
    generator = np.random.default_rng(5)
    parameters = torch.stack([stack.initial_parameters(generator, frame()) for _ in range(n_networks)])
    arrays = stack.unpack(parameters)
    for name in ("shift", "stretch", "consequents"):
        arrays[name] += generator.standard_normal(arrays[name].shape).astype(np.float32) * 0.4
    return stack.pack(arrays)


def plain_logits(arrays: dict[str, torch.Tensor], network: int, x: torch.Tensor) -> torch.Tensor:
    """The network rule by rule and set by set, as its description reads: products of memberships, a weighted mean."""
    one = {name: array[network] for name, array in arrays.items()}
    memberships = []
    for number, owner in enumerate(OWNERS):
        move = torch.tanh(one["shift"][0, number]) * one["reach"][0, number]
        widen = 2 ** torch.tanh(one["stretch"][0, number])
        value = x[:, owner]
        below = torch.relu(one["low"][0, number] + move - value) / (one["left"][0, number] * widen)
        above = torch.relu(value - one["high"][0, number] - move) / (one["right"][0, number] * widen)
        memberships.append(torch.exp(-(below**2) / 2) * torch.exp(-(above**2) / 2))
    total, weighted = torch.zeros(len(x), dtype=x.dtype), torch.zeros(len(x), dtype=x.dtype)
    for rule, sets in enumerate(frame().rules):
        firing = torch.ones(len(x), dtype=x.dtype)
        for number in sets:
            firing = firing * memberships[number] ** 0.75  # four inputs, as sharp as three
        own = one["consequents"][-1, rule] + sum(one["consequents"][i, rule] * x[:, i] for i in range(4))
        total, weighted = total + firing, weighted + firing * own
    return weighted / total


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("n_networks", [1, N_NETWORKS])
def test_logits_and_gradient_are_those_of_rules_written_out_and_of_autograd(learns, n_networks):
    stack = AnfisStack(AnfisShape(OWNERS, 9, learns))  # two places hold no rule
    parameters = learned_parameters(stack, n_networks)
    rows = scaled(made_up_inputs(50, 2))
    exact = {name: torch.from_numpy(a).double() for name, a in stack.unpack(parameters).items()}
    for name in ("shift", "stretch", "consequents"):
        exact[name].requires_grad_()
    x = torch.from_numpy(rows).double()
    targets = torch.from_numpy((np.random.default_rng(3).random(50) < 0.5).astype(np.float32))
    logits = stack.logits(parameters, stack.prepare(rows))

    padded = padded_rows(50)
    inputs = torch.zeros(n_networks, padded, stack.prepare(rows).shape[1])
    inputs[:, :50] = stack.prepare(rows)
    weights = torch.zeros(n_networks, padded)
    weights[:, :50] = 1 / 50
    truth = torch.zeros(n_networks, padded)
    truth[:, :50] = targets
    gradient = stack.gradient(parameters, inputs, targets=truth, weights=weights)
    found = stack.unpack(gradient)
    for network in range(n_networks):
        expected = plain_logits(exact, network, x)
        torch.testing.assert_close(logits[network].double(), expected.detach(), rtol=1e-4, atol=1e-4)
        torch.nn.functional.binary_cross_entropy_with_logits(expected, targets.double()).backward()
    np.testing.assert_allclose(found["consequents"], exact["consequents"].grad, rtol=1e-3, atol=1e-6)
    for name in ("shift", "stretch"):
        expected_gradient = exact[name].grad.numpy() if learns else np.zeros_like(found[name])
        np.testing.assert_allclose(found[name], expected_gradient, rtol=1e-3, atol=1e-6)
    for name in ("low", "high", "left", "right", "reach", "antecedents", "absent"):
        assert not found[name].any()  # given by the part, never learned
    assert torch.equal(stack.pack(stack.unpack(parameters)), parameters)


def test_bells_are_one_half_where_the_sets_are_and_rules_are_the_commonest_combinations():
    made = frame(5)
    half_points = {0: 35.0, 1: 60.0, 2: 65.0}  # upper flank of low, upper of middle, lower of high
    for number, half in half_points.items():
        z = (half - MEAN[0]) / DEVIATION[0]
        beyond = max(made.low[number] - z, 0) / made.left[number] + max(z - made.high[number], 0) / made.right[number]
        assert np.exp(-(beyond**2) / 2) == pytest.approx(0.5)
    assert (made.low[3], made.left[3]) == pytest.approx(((2.0 - MEAN[1]) / DEVIATION[1], 0.3 / DEVIATION[1]))
    counts = []
    for rule in made.rules:
        member = np.ones(len(FITTED), dtype=bool)
        starts = (0, 3, 5, 8)
        for column, (variable, start) in enumerate(zip(VARIABLES, starts, strict=True)):
            if column in (0, 1):
                continue  # bells and shapes rank alike only where sets are of one kind
            member &= variable.memberships(FITTED[:, column]).argmax(axis=1) == rule[column] - start
        counts.append(member.sum())
    assert len(made.rules) == 5
    assert min(counts) > len(FITTED) / 12  # each stands on at least its share of rows


def test_a_planted_rule_is_learned_and_only_what_may_learn_moves():
    generator = np.random.default_rng(4)
    raw = made_up_inputs(2000, 6)
    rises = (raw[:, 0] < 42) & (raw[:, 2] > 0)  # IF rsi is low AND trend is not weak
    targets = (generator.random(2000) < np.where(rises, 0.85, 0.35)).astype(np.float32)
    part = FitRows(scaled(raw[:1600]), targets[:1600], scaled(raw[1600:]), targets[1600:], frame=frame(16))
    tasks = [NetworkTask(f"seed {seed}", NetworkKey(seed, (0,)), 0) for seed in range(2)]
    settings = FitSettings(40, 64, 0.01, 40)
    for learns in (True, False):
        stack = AnfisStack(AnfisShape(OWNERS, 16, learns))
        start = stack.unpack(start_state(stack, [part], tasks).parameters)
        states: list[bytes] = []
        state = fit_stack(
            stack,
            [part],
            tasks,
            settings,
            on_epoch=lambda state, kept=states: kept.append(FitCheckpoint(state, {}).to_bytes()),
        )
        p = torch.sigmoid(stack.logits(state.best_parameters, stack.prepare(part.validation_inputs)))
        share = p.mean(dim=0).numpy()
        assert share[rises[1600:]].mean() > 0.65
        assert share[~rises[1600:]].mean() < 0.45
        end = stack.unpack(state.parameters)
        changed = {name for name in end if not np.array_equal(end[name], start[name])}
        assert changed == ({"consequents", "shift", "stretch"} if learns else {"consequents"})
        bells, before = learned_bells(end), learned_bells(start)
        assert (np.abs(bells["low"] - before["low"]) <= end["reach"][:, 0] + 1e-6).all()
        # Interrupted anywhere, it ends with the same bits.
        like = start_state(stack, [part], tasks)
        halfway = read_checkpoint(states[20], identity={}, like=like).state
        resumed = fit_stack(stack, [part], tasks, settings, on_epoch=lambda _: None, state=halfway)
        assert FitCheckpoint(resumed, {}).to_bytes() == states[-1]


def test_a_frame_of_another_shape_is_refused():
    generator = np.random.default_rng(1)
    for wrong in (AnfisShape(OWNERS, 4, True), AnfisShape((0, 0, 1), 16, True)):
        with pytest.raises(ValueError, match="need a frame"):
            AnfisStack(wrong).initial_parameters(generator, frame(7))
    with pytest.raises(ValueError, match="need a set for every input"):
        AnfisShape((0, 2), 4, True)
