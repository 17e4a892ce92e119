import pytest
import torch

from ktrdr.networks.runtime import torch_runtime


def test_threads_and_determinism_hold_inside_and_are_restored_after_an_error():
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    other = before[0] + 1
    with pytest.raises(RuntimeError, match="inside"), torch_runtime(other):  # noqa: PT012 - the state inside matters
        assert (torch.get_num_threads(), torch.get_deterministic_debug_mode()) == (other, 2)
        raise RuntimeError("inside")
    assert (torch.get_num_threads(), torch.get_deterministic_debug_mode()) == before


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="threads >= 1"), torch_runtime(0):
        pass
