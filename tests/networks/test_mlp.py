import numpy as np
import pytest
import torch

from ktrdr.networks.mlp import MlpShape, MlpStack
from ktrdr.networks.stack import padded_rows

N_NETWORKS = 3


def random_parameters(stack: MlpStack, n_networks: int = N_NETWORKS) -> torch.Tensor:
    generator = np.random.default_rng(5)
    return torch.stack([stack.initial_parameters(generator) for _ in range(n_networks)])


def as_torch_module(stack: MlpStack, parameters: torch.Tensor, network: int) -> torch.nn.Sequential:
    """Return the network as PyTorch's own layers, without dropout."""
    arrays = stack.unpack(parameters)
    modules: list[torch.nn.Module] = []
    for number in range(len(stack.shape.hidden) + 1):
        weight = torch.from_numpy(arrays[f"layers.{number}.weight"][network])
        linear = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(weight.T)
            linear.bias.copy_(torch.from_numpy(arrays[f"layers.{number}.bias"][network]))
        modules += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


@pytest.mark.parametrize(("n_inputs", "hidden"), [(20, (32, 16)), (7, (17, 9, 5)), (1, (1,))])
def test_logits_are_those_of_pytorch_layers_for_any_widths_and_more_rows_than_a_chunk(n_inputs, hidden):
    stack = MlpStack(MlpShape(n_inputs, hidden))
    parameters = random_parameters(stack)
    rows = np.random.default_rng(1).standard_normal((8192 + 37, n_inputs)).astype(np.float32)
    logits = stack.logits(parameters, stack.prepare(rows))
    for network in range(N_NETWORKS):
        expected = as_torch_module(stack, parameters, network)(torch.from_numpy(rows)).squeeze(1)
        torch.testing.assert_close(logits[network], expected.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_networks", [1, N_NETWORKS])
def test_gradient_is_that_of_autograd_with_dropped_units_and_padding_rows(n_networks):
    stack = MlpStack(MlpShape(7, (17, 9), dropout=0.3))
    parameters = random_parameters(stack, n_networks)
    generator = torch.Generator().manual_seed(2)
    n_rows = 50
    padded = padded_rows(n_rows)
    inputs = torch.zeros(n_networks, padded, 8)
    inputs[:, :, :7] = torch.randn(n_networks, padded, 7, generator=generator)
    targets = torch.randint(0, 2, (n_networks, padded), generator=generator).float()
    weights = torch.zeros(n_networks, padded)
    weights[:, :n_rows] = 1 / n_rows
    kept = tuple(
        (torch.rand(n_networks, padded, width, generator=generator) > 0.3).float() / 0.7
        for width in stack.hidden_widths
    )
    gradient = stack.gradient(parameters, inputs, targets=targets, weights=weights, kept=kept)
    of_layers = stack.unpack(gradient)
    for network in range(n_networks):
        module = as_torch_module(stack, parameters, network)
        values = inputs[network, :n_rows, :7]
        for number, width in enumerate(stack.shape.hidden):
            values = module[2 * number + 1](module[2 * number](values)) * kept[number][network, :n_rows, :width]
        logits = module[-1](values).squeeze(1)
        torch.nn.functional.binary_cross_entropy_with_logits(logits, targets[network, :n_rows]).backward()
        for number in range(3):
            expected = module[2 * number].weight.grad.T.numpy(), module[2 * number].bias.grad.numpy()
            found = of_layers[f"layers.{number}.weight"][network], of_layers[f"layers.{number}.bias"][network]
            np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-6)


def test_padding_never_gets_a_gradient():
    stack = MlpStack(MlpShape(7, (17, 9)))
    parameters = random_parameters(stack)
    inputs = torch.zeros(N_NETWORKS, 64, 8)
    inputs[:, :, :7] = 1.0
    gradient = stack.gradient(
        parameters, inputs, targets=torch.ones(N_NETWORKS, 64), weights=torch.ones(N_NETWORKS, 64)
    )
    assert gradient.abs().sum() > 0
    # What survives a round trip through the named arrays is everything that is not padding.
    assert torch.equal(stack.pack(stack.unpack(gradient)), gradient)


def test_named_arrays_of_another_shape_are_refused():
    stack = MlpStack(MlpShape(7, (17, 9)))
    arrays = stack.unpack(random_parameters(stack))
    other = MlpStack(MlpShape(7, (17, 8)))
    with pytest.raises(ValueError, match="layer 1 needs"):
        other.pack(arrays)
    with pytest.raises(ValueError, match="need the arrays"):
        MlpStack(MlpShape(7, (17,))).pack(arrays)


def test_initial_weights_fill_the_range_of_a_linear_layer():
    stack = MlpStack(MlpShape(100, (64,)))
    arrays = stack.unpack(random_parameters(stack))
    weight = arrays["layers.0.weight"]
    assert np.abs(weight).max() == pytest.approx(0.1, rel=1e-3)
    assert weight.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.02)
    assert not np.array_equal(weight[0], weight[1])


@pytest.mark.parametrize("wrong", [(0, (4,), 0.0), (3, (), 0.0), (3, (4, 0), 0.0), (3, (4,), 1.0)])
def test_impossible_shapes_are_refused(wrong):
    with pytest.raises(ValueError, match="need inputs"):
        MlpShape(*wrong)
