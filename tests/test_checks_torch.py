"""The context managers of labkit.checks that guard torch's global state."""

import contextlib

import pytest
import torch
from torch import nn

from labkit.checks import evaluating, seeded


def test_seeded_is_reproducible_and_leaves_the_global_seed():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    draws = []
    for seed in (1, 1, 2):
        with seeded(seed) as generator:
            draws.append((torch.rand(4), torch.rand(4, generator=generator)))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[2][0])


def test_seeded_refuses_other_seeds():
    with pytest.raises(TypeError, match="random_state must be an integer"), seeded(0.5):
        pass


def test_evaluating_gives_each_module_its_mode_back_even_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3))
    model[1].eval()
    with contextlib.suppress(RuntimeError), evaluating(model):
        assert not model[0].training
        assert not torch.is_grad_enabled()
        raise RuntimeError
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
    assert torch.is_grad_enabled()
