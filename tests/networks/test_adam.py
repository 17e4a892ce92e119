import torch

from ktrdr.networks.adam import AdamState, update_parameters


def test_each_network_moves_as_under_pytorchs_adam_and_a_resting_one_not_at_all():
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(3, 11, generator=generator)
    gradients = torch.randn(40, 3, 11, generator=generator)
    updates_of_network = [40, 40, 25]  # the last one rests from update 25 on

    stacked = start.clone()
    state = AdamState.zeros_like(stacked)
    for step, gradient in enumerate(gradients):
        n_busy = sum(updates > step for updates in updates_of_network)
        update_parameters(stacked, gradient[:n_busy], state, 0.01)

    assert state.n_updates.tolist() == updates_of_network
    for network, n_updates in enumerate(updates_of_network):
        alone = start[network].clone().requires_grad_()
        optimiser = torch.optim.Adam([alone], lr=0.01)
        for gradient in gradients[:n_updates]:
            alone.grad = gradient[network].clone()
            optimiser.step()
        torch.testing.assert_close(stacked[network], alone.detach(), rtol=1e-5, atol=1e-6)
