"""Batch norms estimated again: the means of what flows through the network now."""

import pytest
import torch
from torch import nn

from labkit.dynamic import FBSConv2d, renormalized, set_density


def pictures(n=6):
    return torch.randn(n, 1, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 2


def test_they_are_the_mean_and_the_variance_of_what_comes_in():
    x = pictures()
    norm = renormalized(nn.Sequential(nn.BatchNorm2d(1)), x)[0]
    assert float(norm.running_mean) == pytest.approx(float(x.mean()), rel=1e-5)
    assert float(norm.running_var) == pytest.approx(float(x.var()), rel=1e-5)


def test_several_batches_count_alike():
    x = pictures(6)
    norm = renormalized(nn.Sequential(nn.BatchNorm2d(1)), x, batch_size=3)[0]
    assert float(norm.running_mean) == pytest.approx(float(x.mean()), rel=1e-5)
    assert norm.momentum == 0.1


def test_the_model_stays_as_it_was_and_its_copy_is_ready_for_use():
    model = nn.Sequential(FBSConv2d(1, 4, 3, random_state=0)).train()
    set_density(model, 0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = renormalized(model, pictures())
    assert model.training
    assert not made.training
    assert made[0].density == 0.5
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    changed = {name for name, value in made.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"0.norm.running_mean", "0.norm.running_var", "0.norm.num_batches_tracked"}


@pytest.mark.parametrize(
    ("model", "x", "options", "message"),
    [
        ("net", pictures(), {}, "model must be"),
        (nn.Conv2d(1, 1, 3), pictures(), {}, "batch norms with running means"),
        (nn.BatchNorm2d(1, track_running_stats=False), pictures(), {}, "batch norms with running means"),
        (nn.BatchNorm2d(1), pictures(1), {}, "x must hold at least 2 pictures, got 1"),
        (nn.BatchNorm2d(1), pictures()[0], {}, "x must be"),
        (nn.BatchNorm2d(1), pictures() * float("nan"), {}, "x must"),
        (nn.BatchNorm2d(1), pictures().long(), {}, "x must"),
        (nn.BatchNorm2d(1), pictures(), {"batch_size": 1}, "batch_size must be"),
        (nn.BatchNorm2d(1), pictures(), {"batch_size": 2.5}, "batch_size must be"),
    ],
)
def test_bad_input_is_refused(model, x, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        renormalized(model, x, **options)
