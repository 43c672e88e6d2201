"""Factorise trained LeNets with the SVD: by weights or by responses, with and without fine-tuning. Chapter 5."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit.cost import count, file_bytes, time_ratio
from labkit.datasets import Digits, mnist
from labkit.experiments.registry import experiment
from labkit.nets import NETS
from labkit.training import evaluate, fit

SPLIT = (
    "trained and fine-tuned on the 55,000 digits of mnist('train'), with the settings that train-lenet chose; "
    "responses of some of these digits; error on the 10,000 of mnist('test'); nothing is chosen by any error"
)
RATE = {"lenet-300-100": 4e-3, "lenet-5": 2e-3}  # the learning rates that train-lenet chose


def trained(name: str, digits: Digits, *, epochs: int, seed: int) -> nn.Module:
    """Return the network `name` trained on digits, initial weights and order from `seed`."""
    model = NETS[name](random_state=seed)
    fit(model, digits, epochs=epochs, learning_rate=RATE[name], random_state=seed)
    return model
