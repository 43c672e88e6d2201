"""A trained binary network as packed words, in memory and on disk. Chapter 19; the kernels are in Chapter 21."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from labkit import checks, paths
from labkit.quantization.binary import BinaryLayer, SignActivation
from labkit.quantization.packed_layers import (
    Affine,
    Directed,
    IntegerPool,
    PackedConv2d,
    PackedLinear,
    Threshold,
    fold_thresholds,
)

MONOTONE = (nn.BatchNorm1d, nn.BatchNorm2d, nn.Tanh, nn.Hardtanh, nn.ReLU, nn.Sigmoid, SignActivation)
NOTHING = (nn.Identity, nn.Dropout)  # in evaluation mode
GEOMETRY = ("stride", "padding", "dilation")
ARGUMENTS: dict[type, tuple[str, ...]] = {  # the real layers that a packed network may hold
    nn.Conv2d: ("in_channels", "out_channels", "kernel_size", *GEOMETRY, "groups"),
    nn.Linear: ("in_features", "out_features"),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding"),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.Tanh: (),
    nn.Hardtanh: ("min_val", "max_val"),
    nn.ReLU: (),
    nn.Sigmoid: (),
    SignActivation: (),
}


class ScaleShift(nn.Module):
    """Batch normalisation in evaluation mode: y = weight x + shift, two numbers for each channel in place of four."""

    weight: torch.Tensor
    shift: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("shift", torch.zeros(channels))

    @classmethod
    def of(cls, norm: Any) -> "ScaleShift":
        """Return the map of a batch normalisation that has been trained."""
        made, size = cls(norm.num_features), norm.running_var
        weight = torch.ones_like(size) if norm.weight is None else norm.weight.detach()
        bias = torch.zeros_like(size) if norm.bias is None else norm.bias.detach()
        made.weight.copy_(weight * (size + norm.eps).rsqrt())
        made.shift.copy_(bias.double() - norm.running_mean.double() * made.weight.double())  # rounded once, as torch
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised x (n, c, ...)."""
        mean, var = torch.zeros_like(self.weight), torch.ones_like(self.weight)
        return nn.functional.batch_norm(x, mean, var, self.weight, self.shift, eps=0.0)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer."""
        return {"channels": len(self.weight)}


OWN = {c.__name__: c for c in (PackedConv2d, PackedLinear, Directed, IntegerPool, Threshold, Affine, ScaleShift)}
REAL = {c.__name__: c for c in ARGUMENTS}


class PackedNetwork(nn.Sequential):
    """A binary network whose binary layers are words; use it as the network that it was packed from.

    It is for evaluation: its layers are not trained, and gradients do not pass them.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores for a batch x."""
        with torch.no_grad():
            return super().forward(x)

    @property
    def n_bytes(self) -> int:
        """The bytes of all numbers and words, without the file's header."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.state_dict().values())


def pack(model: nn.Module) -> PackedNetwork:
    """Return a trained binary network as packed words.

    Parameters
    ----------
    model : an nn.Sequential, perhaps of others, of binary layers and of the layers in `ARGUMENTS`. Layers with binary
        inputs become words that the kernels multiply; between two of them only integers are left, since scale, bias,
        batch norm and activation become thresholds. Binary layers with real inputs are stored as bits, and computed
        in float32. All others stay.

    Raises
    ------
    TypeError : not such a chain, or a layer that a packed network cannot hold.
    ValueError : `act_scale`, groups, or something between two binary layers that no threshold replaces.

    Yang et al. (2017), arXiv:1705.09864; lecture 003:1259-1340. Chapter 19.

    >>> from labkit.quantization import BinaryLinear
    >>> net = nn.Sequential(BinaryLinear(100, 40), nn.BatchNorm1d(40), BinaryLinear(40, 10)).eval()
    >>> [type(layer).__name__ for layer in pack(net)]
    ['PackedLinear', 'Threshold', 'PackedLinear', 'Affine']
    >>> x = torch.randn(5, 100)
    >>> bool((pack(net)(x) == net(x)).all())
    True
    """
    chain = [module for module in _flat(model) if not isinstance(module, NOTHING)]
    starts = [i for i, module in enumerate(chain) if isinstance(module, BinaryLayer)]
    if not starts:
        raise ValueError("model must have a binary layer to pack; binarize_model makes them")
    layers, picture = _real(chain[: starts[0]], chain[starts[0]]), None
    for start, end in zip(starts, [*starts[1:], len(chain)], strict=True):
        layer, tail, following = chain[start], chain[start + 1 : end], chain[end] if end < len(chain) else None
        layers.append(_packed(layer, picture))
        words = _stays_integer(layer, tail, following)
        layers += _integers(layer, tail) if words else [*_affine(layer), *_real(tail, following)]
        picture = _picture(layer, following) if words else None
    return PackedNetwork(*layers).requires_grad_(False).eval()


def save_packed(network: PackedNetwork, path: str | Path, *, header: dict[str, Any] | None = None) -> None:
    """Write a packed network to a safetensors file, under a temporary name that is then renamed.

    `path` ends in .safetensors; `header` is anything that JSON can hold. Raises TypeError or ValueError otherwise.

    >>> import tempfile
    >>> from labkit.quantization import BinaryLinear
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_packed(pack(nn.Sequential(BinaryLinear(64, 8))), Path(folder) / "net.safetensors")
    """
    checks.instance(network, "network", PackedNetwork)
    if Path(checks.instance(path, "path", (str, Path))).suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {str(path)!r}")
    checks.instance({} if header is None else header, "header", dict)
    content = {"layers": [[type(layer).__name__, _config(layer)] for layer in network], "header": header or {}}
    metadata = {"packed": json.dumps(content, separators=(",", ":"))}
    with paths.replacing(Path(path)) as temporary:
        save_file(network.state_dict(), temporary, metadata)


def load_packed(path: str | Path) -> tuple[PackedNetwork, dict[str, Any]]:
    """Return a packed network and the header that `save_packed` wrote with it.

    Raises FileNotFoundError, or ValueError if the file is damaged or holds something else.

    >>> load_packed("nowhere.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: nowhere.safetensors is not there
    """
    if not Path(checks.instance(path, "path", (str, Path))).is_file():
        raise FileNotFoundError(f"{path} is not there")
    try:
        with safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {})["packed"])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        network = PackedNetwork(*(_made(kind, config) for kind, config in content["layers"]))
        network.load_state_dict(state)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} is not a whole packed network: {error}") from error
    return network.requires_grad_(False).eval(), content["header"]


def _flat(model: Any) -> Iterator[Any]:
    """Yield the layers of a chain in their order."""
    checks.instance(model, "model", nn.Sequential)
    for module in model:
        if isinstance(module, nn.Sequential):
            yield from _flat(module)
        elif isinstance(module, (*ARGUMENTS, *MONOTONE, *NOTHING, BinaryLayer)):
            yield module
        else:
            raise TypeError(f"model must hold layers that can be packed, got {type(module).__name__}")


def _packed(layer: Any, picture: Any) -> nn.Module:
    """Return the bits of a binary layer; `picture` is the shape in which the words of its input come, if they do."""
    if layer.act_scale:
        raise ValueError("act_scale must be False in a network to pack: the scale K needs the real inputs")
    if isinstance(layer, nn.Linear):
        shape: Any = layer.weight.shape
        return PackedLinear(shape, picture=picture, binary_input=bool(layer.binary_input)).fill(layer.weight)
    if layer.groups != 1:
        raise ValueError(f"groups must be 1 in a binary convolution to pack, got {layer.groups}")
    geometry = {name: getattr(layer, name) for name in GEOMETRY}
    return PackedConv2d(layer.weight.shape, binary_input=layer.binary_input, **geometry).fill(layer.weight)


def _stays_integer(layer: Any, tail: list[Any], following: Any) -> bool:
    """Tell whether thresholds can replace all that lies between two binary layers."""
    norms = sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in tail)
    flat = isinstance(layer, nn.Conv2d) and isinstance(following, nn.Linear)
    fits = all(isinstance(m, MONOTONE) or _simple_pool(m) or (flat and _whole(m)) for m in tail)
    return following is not None and layer.binary_input and following.binary_input and norms <= 1 and fits


def _whole(module: Any) -> bool:
    return isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1)


def _simple_pool(module: Any) -> bool:
    if not isinstance(module, nn.MaxPool2d) or module.ceil_mode:
        return False
    plain = (module.padding, module.dilation) == (0, 1)
    return plain and isinstance(module.kernel_size, int) and isinstance(module.stride, int)


def _integers(layer: Any, tail: list[Any]) -> list[nn.Module]:
    """Return pooling, directions and thresholds: pooling before the batch norm sees the products as they are."""
    norm = next((i for i, m in enumerate(tail) if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)), 0)
    direction, limit = fold_thresholds(nn.Sequential(*(m for m in tail if isinstance(m, MONOTONE))), layer)
    directed, threshold = Directed(len(limit)), Threshold(len(limit))
    directed.direction.copy_(direction)
    threshold.limit.copy_(limit)
    turned = [directed] if (direction < 0).any() else []
    return [*_pools(tail[:norm]), *turned, *_pools(tail[norm:]), threshold]


def _pools(modules: list[Any]) -> list[nn.Module]:
    return [IntegerPool(m.kernel_size, m.stride) for m in modules if _simple_pool(m)]


def _picture(layer: Any, following: Any) -> tuple[int, int, int] | None:
    """Return the shape (c, pixels, 1) of the words that a linear layer gets from a convolution."""
    if not (isinstance(layer, nn.Conv2d) and isinstance(following, nn.Linear)):
        return None
    return layer.out_channels, following.in_features // layer.out_channels, 1


def _affine(layer: Any) -> list[nn.Module]:
    return [Affine.of(layer)] if layer.scaled or layer.bias is not None or layer.binary_input else []


def _real(modules: list[Any], following: Any) -> list[nn.Module]:
    """Return copies of real layers, batch norm in two numbers; a sign that the next layer takes anyway is left out."""
    if modules and isinstance(modules[-1], SignActivation) and following is not None and following.binary_input:
        modules = modules[:-1]
    norms = nn.BatchNorm1d, nn.BatchNorm2d
    return [ScaleShift.of(m) if isinstance(m, norms) else copy.deepcopy(m) for m in modules]


def _config(layer: Any) -> dict[str, Any]:
    """Return what builds an equal layer, as plain numbers."""
    if type(layer).__name__ in OWN:
        return layer.config()
    made = {name: getattr(layer, name) for name in ARGUMENTS[type(layer)]}
    return made | ({"bias": layer.bias is not None} if isinstance(layer, nn.Conv2d | nn.Linear) else {})


def _made(kind: str, config: dict[str, Any]) -> nn.Module:
    classes: dict[str, Any] = OWN | REAL
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    return classes[checks.choice(kind, "layer", classes)](**lists)
