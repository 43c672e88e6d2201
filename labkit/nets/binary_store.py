"""Checkpoints of binary networks: the signs of binary weights as bits, everything else as it is. Chapter 19.

A network that was trained with real weights uses only their signs, and perhaps one scale for each output, once it is
trained. The file keeps these, and the batch norms, so that the network can be evaluated, and packed, as it was.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.nets.binary_lenet import BinaryLeNet, LeNet
from labkit.nets.low_bit_lenet import LowBitLeNet
from labkit.nets.store import checkpoint, read, write
from labkit.quantization.binary import SignActivation, binarize_model, binary_layers
from labkit.quantization.ensemble import Ensemble
from labkit.quantization.packed_layers import PackedWeights

BENN_MEMBERS = 3


def benn_lenet(n_members: int = BENN_MEMBERS) -> Ensemble:
    """Return an untrained BENN: binary LeNets with equal votes; raises TypeError or ValueError unless n_members >= 1.

    >>> len(benn_lenet().members)
    3
    """
    made = range(checks.integer(n_members, "n_members", low=1))
    return Ensemble([binarize_model(LowBitLeNet(activation=SignActivation), "binary-connect") for _ in made])


BINARY_NETS: dict[str, Callable[[], nn.Module]] = {
    "lenet-bnn": lambda: BinaryLeNet("bnn"),
    "lenet-xnor": lambda: BinaryLeNet("xnor"),
    "lenet-bwn": lambda: binarize_model(LeNet(), "bwn"),
    "benn-bagging": benn_lenet,
    "benn-boosting": benn_lenet,
}


def load_binary(name: str) -> nn.Module:
    """Return the trained binary network `name` in evaluation mode, its binary weights as +-1 or +-alpha.

    Parameters
    ----------
    name : "lenet-bnn", "lenet-xnor" or "lenet-bwn", or the ensembles "benn-bagging" and "benn-boosting"

    Raises
    ------
    ValueError : unknown name, or a checkpoint that is damaged or belongs to another network.
    FileNotFoundError : the checkpoint is not in `data/checkpoints`.

    They were trained on the 55,000 digits of `mnist("train")`, the ensembles on 6,000 of these, never on "heldout" or
    "test". Chapter 19.

    >>> load_binary("lenet-bnn").conv2.weight.unique()
    tensor([-1.,  1.], grad_fn=<Unique2Backward0>)
    """
    path = checkpoint(name, BINARY_NETS)
    model = BINARY_NETS[name]()
    try:
        _fill(model, read(path)[0])
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"{path} does not hold a {name}: {error}") from error
    return model.eval()


def binary_provenance(name: str) -> dict[str, Any]:
    """Return how the checkpoint `name` was made: error, seed, split, epochs, command, versions, date.

    Raises ValueError or FileNotFoundError as `load_binary` does.

    >>> binary_provenance("lenet-bnn")["seed"]
    0
    """
    return read(checkpoint(name, BINARY_NETS))[1]


def save_binary(model: nn.Module, path: str | Path, *, header: dict[str, Any]) -> None:
    """Write a binary network and a header to a safetensors file, under a temporary name that is then renamed.

    `model` has binary layers, `path` ends in .safetensors, `header` is anything that JSON can hold; TypeError or
    ValueError otherwise.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_binary(BinaryLeNet(), Path(folder) / "net.safetensors", header={"seed": 0})
    """
    if not binary_layers(model):
        raise ValueError(f"model must have binary layers, got a {type(model).__name__} without any")
    write(_state(model), path, header=header)


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state with bits and scales in place of binary weights, and without batch norm's counters."""
    state = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    for name, layer in binary_layers(model).items():
        weight = state.pop(f"{name}.weight")
        state[f"{name}.bits"] = PackedWeights(tuple(weight.shape)).fill(weight).rows
        if layer.scaled:
            state[f"{name}.scale"] = layer.scale().detach()
    return state


def _fill(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load what `_state` made."""
    for name, layer in binary_layers(model).items():
        packed = PackedWeights(tuple(layer.weight.shape))
        packed.load_state_dict({"rows": state.pop(f"{name}.bits")})
        scale = state.pop(f"{name}.scale") if layer.scaled else torch.ones(len(layer.weight))
        state[f"{name}.weight"] = packed.real * scale.reshape((-1,) + (1,) * (layer.weight.dim() - 1))
    counters = {key: value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")}
    model.load_state_dict(counters | state)
