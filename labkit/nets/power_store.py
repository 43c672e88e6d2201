"""Checkpoints of networks whose weights are powers of two: a code of few bits for each weight. Chapter 19."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.nets.lenet import LeNet5
from labkit.nets.store import checkpoint, read, write
from labkit.quantization.inq import power_codes, power_values
from labkit.sparse.relative import pack, unpack

POWERS = ("inq-lenet-5bit", "inq-lenet-3bit")


def save_powers(
    model: nn.Module, path: str | Path, *, layers: Iterable[str], bits: int, header: dict[str, Any]
) -> None:
    """Write a network whose named layers hold powers of two and 0: `bits` bits for each of these weights.

    Parameters
    ----------
    model : the network, without quantizers (`finalize`)
    path : the file, with suffix .safetensors
    layers : names of the layers
    bits : between 2 and 8, as for `INQ`
    header : anything that JSON can hold

    Raises
    ------
    TypeError, ValueError : no module, another suffix, or a layer with another weight.

    Each layer has its codes, see `power_codes`, and the two integers bits and n1. Chapter 19.

    >>> import tempfile
    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> model[0].weight.data = torch.tensor([[0.5, -0.25]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_powers(model, Path(folder) / "net.safetensors", layers=["0"], bits=5, header={})
    """
    state = dict(checks.instance(model, "model", nn.Module).state_dict())
    for name in layers:
        names = [key.removesuffix(".weight") for key in state if key.endswith(".weight")]
        weight = state.pop(f"{checks.choice(name, 'layers', names)}.weight")
        n1 = math.frexp(float(weight.abs().max()))[1] - 1
        codes = power_codes(weight, bits=bits, exponent=n1).ravel()
        state |= {f"{name}.codes": torch.from_numpy(pack(codes, bits)), f"{name}.powers": torch.tensor([bits, n1])}
    write(state, path, header=header)


def load_powers(name: str) -> LeNet5:
    """Return a trained LeNet-5 whose weights are all powers of two or 0, in evaluation mode.

    Parameters
    ----------
    name : "inq-lenet-5bit" or "inq-lenet-3bit"

    Raises
    ------
    ValueError : unknown name, or a file that is damaged or does not fit.
    FileNotFoundError : the file is not in `data/checkpoints`.

    Made by `python -m labkit.experiments inq-lenet` from the checkpoint "lenet-5". Chapter 19.

    >>> load_powers("inq-lenet-3bit").fc1.weight.unique().tolist()
    [-0.25, -0.125, 0.0, 0.125, 0.25]
    """
    path = checkpoint(name, POWERS)
    model, state = LeNet5(), read(path)[0]
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    try:
        for layer in [key.removesuffix(".codes") for key in state if key.endswith(".codes")]:
            codes, (bits, n1) = state.pop(f"{layer}.codes"), state.pop(f"{layer}.powers").tolist()
            state[f"{layer}.weight"] = _weight(codes.numpy(), bits, n1, shapes[f"{layer}.weight"])
        model.load_state_dict(state)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold {name}: {error}") from error
    return model.eval()


def powers_provenance(name: str) -> dict[str, Any]:
    """Return how such a network was made: errors, seed, split, command, torch version, date.

    Raises ValueError or FileNotFoundError as `load_powers` does.

    >>> powers_provenance("inq-lenet-5bit")["bits"]
    5
    """
    return read(checkpoint(name, POWERS))[1]


def _weight(codes: np.ndarray, bits: int, n1: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the weights (m, ...) behind a string of bits."""
    n, n_bytes = math.prod(shape), -(-math.prod(shape) * bits // 8)
    if codes.dtype != np.uint8 or codes.shape != (n_bytes,):
        raise ValueError(f"{bits}-bit codes of shape {shape} must be {n_bytes} bytes, got {codes.dtype} {codes.shape}")
    return torch.from_numpy(power_values(unpack(codes, bits, n), bits=bits, exponent=n1)).reshape(shape)
