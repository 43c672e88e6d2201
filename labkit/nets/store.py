"""Checkpoints: safetensors files whose header says how the network was trained and how good it is."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from labkit import checks, paths
from labkit.nets.lenet import LeNet5, LeNet300

NETS: dict[str, Callable[..., nn.Module]] = {"lenet-300-100": LeNet300, "lenet-5": LeNet5}


def load(name: str) -> nn.Module:
    """Return the trained network `name` in evaluation mode, its weights in float32.

    Parameters
    ----------
    name : "lenet-300-100" or "lenet-5"

    Raises
    ------
    ValueError : unknown name, or a checkpoint that is damaged or belongs to another network.
    FileNotFoundError : the checkpoint is not in `data/checkpoints`.

    Both were trained on the 55,000 digits of `mnist("train")`, never on "heldout" or "test". Chapter 5.

    >>> load("lenet-300-100").fc1
    Linear(in_features=784, out_features=300, bias=True)
    """
    path = checkpoint(name, NETS)
    model = NETS[name]()
    try:
        model.load_state_dict(read(path)[0])
    except RuntimeError as error:
        raise ValueError(f"{path} does not hold a {name}: {error}") from error
    return model.eval()


def provenance(name: str) -> dict[str, Any]:
    """Return how the checkpoint `name` was made: error, seed, split, epochs, command, versions, date.

    Raises ValueError or FileNotFoundError as `load` does.

    >>> provenance("lenet-300-100")["seed"]
    0
    """
    return read(checkpoint(name, NETS))[1]


def save(
    model: nn.Module, path: str | Path, *, header: dict[str, Any], dtype: torch.dtype | None = torch.float32
) -> None:
    """Write a network's state and a header to a safetensors file, under a temporary name that is then renamed.

    Parameters
    ----------
    model : the network; its floating-point tensors are stored as `dtype`, the others as they are
    path : the file, with suffix .safetensors
    header : anything that JSON can hold
    dtype : torch.float32, or torch.float16 for half the bytes; None keeps the types

    Raises
    ------
    TypeError : not a module, or a header that JSON cannot hold.
    ValueError : another suffix, or NaN or infinity among the weights.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(LeNet300(), Path(folder) / "net.safetensors", header={"seed": 0})
    """
    checks.instance(model, "model", nn.Module)
    write({key: _stored(value, key, dtype) for key, value in model.state_dict().items()}, path, header=header)


def write(state: dict[str, torch.Tensor], path: str | Path, *, header: dict[str, Any]) -> None:
    """Write tensors and a header as `read` reads them; errors as in `save`.

    >>> write({}, "net.pt", header={})
    Traceback (most recent call last):
    ValueError: path must end in .safetensors, got 'net.pt'
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {str(path)!r}")
    metadata = {"labkit": json.dumps(header, sort_keys=True)}
    with paths.replacing(Path(path)) as temporary:
        save_file({key: value.contiguous() for key, value in state.items()}, temporary, metadata)


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the header of a file that `save` wrote; raises FileNotFoundError or ValueError.

    >>> read(paths.DATA / "checkpoints" / "lenet-5.safetensors")[0]["fc2.bias"].shape
    torch.Size([10])
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; restore it from the repository")
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return state, json.loads((file.metadata() or {})["labkit"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a whole checkpoint of labkit: {error}") from error


def checkpoint_bytes(name: str) -> int:
    """Return the size of a shipped checkpoint's file in bytes; ValueError if there is none of this name.

    >>> checkpoint_bytes("lenet-5")
    863488
    """
    return checkpoint(name, (path.stem for path in (paths.DATA / "checkpoints").glob("*.safetensors"))).stat().st_size


def _stored(value: torch.Tensor, key: str, dtype: torch.dtype | None) -> torch.Tensor:
    if not value.isfinite().all():
        raise ValueError(f"{key} must be finite, got NaN or infinite entries")
    return value.to(dtype if dtype and value.is_floating_point() else value.dtype).clone(
        memory_format=torch.contiguous_format
    )


def checkpoint(name: str, names: Iterable[str]) -> Path:
    """Return where the checkpoint `name`, one of `names`, lies; ValueError for another name.

    >>> checkpoint("lenet-5", NETS).name
    'lenet-5.safetensors'
    """
    return paths.DATA / "checkpoints" / f"{checks.choice(name, 'name', names)}.safetensors"
