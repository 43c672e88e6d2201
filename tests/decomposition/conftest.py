"""A generator that starts alike in every test, and the trained network that the schemes are tried on."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.nets import load


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def lenet() -> nn.Module:
    return load("lenet-5")


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    """Four pictures for LeNet-5."""
    return torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
