"""Convolutions that compute only a part of their outputs, and say how many multiply-adds that took.

A mask that multiplies a result saves nothing: what it removes was computed first. These two functions gather what is
needed into smaller dense tensors, compute on these, and put the results where they belong. Chapter 29.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Self, cast

import torch
from torch import nn
from torch.nn import functional

from labkit import checks
from labkit.convolution.window import Window
from labkit.decomposition.conv_layers import conv_config

Tensor = torch.Tensor

VECTOR = 16  # channels that oneDNN computes at a time
BUSY = 5_000_000  # multiply-adds; measured on one core with AVX-512
_ONEDNN = torch.backends.mkldnn.is_available()


class DynamicLayer(nn.Module):
    """What the layers of this package share: how they compute, and what the last call took.

    `execution` is "masked" (compute everything, then remove) or one of the class's other `EXECUTIONS`, which compute
    only what is kept; training is always masked. `ran`, int64 (n,), holds the multiply-adds that ran for each image
    in the last call. Chapter 29.

    >>> layer = DynamicLayer()
    >>> layer.execution = "gathered"
    >>> layer.execution
    'gathered'
    """

    EXECUTIONS: tuple[str, ...] = ("masked", "gathered")
    conv: nn.Conv2d

    def __init__(self) -> None:
        super().__init__()
        self._execution = "masked"
        self.ran = torch.zeros(0, dtype=torch.int64)

    def __getstate__(self) -> dict[str, Any]:
        """Let a copy keep what the last call left without its graph, which cannot be copied."""
        return {key: value.detach() if isinstance(value, Tensor) else value for key, value in self.__dict__.items()}

    @property
    def execution(self) -> str:
        """How the layer computes in evaluation mode."""
        return self._execution

    @execution.setter
    def execution(self, value: str) -> None:
        self._execution = checks.choice(value, "execution", self.EXECUTIONS)

    @property
    def masked(self) -> bool:
        """Whether the next call computes everything."""
        return self.training or self._execution == "masked"

    def multiply_adds(self, x: Tensor, y: Tensor) -> int:
        """Return the multiply-adds that ran in the last call, for all images together."""
        return int(self.ran.sum())

    @classmethod
    def from_config(cls, *, device: Any = None, **config: Any) -> Self:
        """Return the layer whose `config()` these arguments are, with new weights on a device of torch."""
        return cls(**config).to("cpu" if device is None else device)

    def penalty(self) -> Tensor:
        """Return a scalar that training adds to its loss; 0 for a layer that has none."""
        return torch.zeros(())

    def checked(self, x: Any) -> Tensor:
        """Return x, a batch (n, C, H, W) for this layer; TypeError or ValueError says what is allowed."""
        output_size(self.conv, check_input(x, self.conv.in_channels))
        return x


def penalty(model: nn.Module) -> Tensor:
    """Return the sum of the penalties of all dynamic layers of a model, from their last call.

    Raises TypeError if model is no module. What a layer's penalty is, its class says.

    >>> float(penalty(nn.Linear(2, 2)))
    0.0
    """
    terms = [m.penalty() for m in checks.instance(model, "model", nn.Module).modules() if isinstance(m, DynamicLayer)]
    return torch.stack(terms).sum() if terms else torch.zeros(())


def set_execution(model: nn.Module, execution: str) -> None:
    """Set how every dynamic layer of a model computes; ValueError if one of them cannot, or there is none.

    >>> set_execution(nn.Linear(2, 2), "gathered")
    Traceback (most recent call last):
    ValueError: model must hold at least one dynamic layer, got a Linear without any
    """
    for layer in dynamic_layers(model):
        layer.execution = execution


def dynamic_layers(model: nn.Module, kind: type = DynamicLayer) -> list[Any]:
    """Return the dynamic layers of one kind, by default of any; TypeError for no module, ValueError if there is none.

    >>> len(dynamic_layers(nn.Sequential(DynamicLayer(), nn.ReLU())))
    1
    """
    checks.instance(kind, "kind", type)
    found = [m for m in checks.instance(model, "model", nn.Module).modules() if isinstance(m, kind)]
    if not found:
        word = "dynamic layer" if kind is DynamicLayer else kind.__name__
        raise ValueError(f"model must hold at least one {word}, got a {type(model).__name__} without any")
    return found


def multiply_adds_per_image(model: nn.Module) -> Tensor:
    """Return, int64 (n,), the multiply-adds of all dynamic layers for each image of the last call of the model.

    Raises TypeError or ValueError as `dynamic_layers`, and ValueError if the model was not called yet.

    >>> multiply_adds_per_image(nn.Sequential(DynamicLayer()))
    Traceback (most recent call last):
    ValueError: model must have been called once, so that there is something to count
    """
    counts = [layer.ran for layer in dynamic_layers(model)]
    if not all(len(count) for count in counts):
        raise ValueError("model must have been called once, so that there is something to count")
    return torch.stack(counts).sum(0)


def convolve_channels(
    x: Tensor, conv: nn.Conv2d, *, inputs: Tensor, outputs: Tensor, group: bool = True
) -> tuple[Tensor, Tensor]:
    r"""Convolve only chosen input channels into only chosen output channels, chosen for each image.

    Parameters
    ----------
    x : (n, C, H, W)
    conv : a convolution without bias and groups, C channels in, K out
    inputs : bool (n, C), the input channels that count; for equality with the whole convolution the others are zero
    outputs : bool (n, K), the output channels that are wanted
    group : compute images with equal sets of channels together; otherwise every image alone

    Returns
    -------
    y (n, K, H', W'), zero in the channels that were not wanted, and the multiply-adds of each image, int64 (n,)

    Raises
    ------
    TypeError, ValueError : a tensor of another shape or type, or another kind of convolution.

    Formula: :math:`y_k = \sum_{c \in I} w_{k,c} * x_c` for k in O, at :math:`|I||O| k_h k_w H' W'` multiply-adds.
    Gao et al. (2019), arXiv:1810.05331. Chapter 29.

    >>> conv = nn.Conv2d(4, 6, 3, bias=False)
    >>> inputs, outputs = torch.zeros(1, 4, dtype=torch.bool), torch.zeros(1, 6, dtype=torch.bool)
    >>> inputs[:, :2], outputs[:, :3] = True, True
    >>> y, macs = convolve_channels(torch.ones(1, 4, 5, 5), conv, inputs=inputs, outputs=outputs)
    >>> macs.item() == 2 * 3 * 9 * 3 * 3
    True
    """
    check_conv(conv), check_input(x, conv.in_channels), checks.flag(group, "group")
    _check_mask(inputs, "inputs", (len(x), conv.in_channels))
    _check_mask(outputs, "outputs", (len(x), conv.out_channels))
    y = x.new_zeros(len(x), conv.out_channels, *output_size(conv, x))
    macs = torch.zeros(len(x), dtype=torch.int64)
    for images in _groups(torch.cat([inputs, outputs], 1), group):
        c, k = (mask[images[0]].nonzero().flatten() for mask in (inputs, outputs))
        if len(c) and len(k):
            y[images[:, None], k] = _convolve(x[images][:, c], conv.weight[k][:, c], conv)
            macs[images] = len(c) * len(k) * per_output(conv) * math.prod(y.shape[2:])
    return y, macs


def convolve_each(
    x: Tensor, conv: nn.Conv2d, *, inputs: Tensor, outputs: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, int]:
    r"""Convolve chosen channels of each image with chosen filters, all images in one grouped convolution.

    Parameters
    ----------
    x : (n, C, H, W)
    conv : a convolution without bias and groups, C channels in, K out
    inputs : int64 (n, c), for each image the input channels that are read; one named twice counts twice
    outputs : int64 (n, k), for each image the output channels that are wanted
    scale, shift : floating-point (n, K), applied to the sums: a batch norm folded into the weights, and whatever
        belongs to the image

    Returns
    -------
    y (n, K, H', W'), zero in the channels that were not wanted, and the multiply-adds of one image

    Raises
    ------
    TypeError, ValueError : a tensor of another shape or type, or another kind of convolution.

    Equal numbers of channels for all images are what makes one call of the library enough. The images become groups:
    :math:`y_{i,k} = s_{i,k} \sum_{c \in I_i} w_{k,c} * x_{i,c} + t_{i,k}`. Chapter 29.

    >>> conv, x = nn.Conv2d(2, 3, 3, bias=False), torch.randn(4, 2, 5, 5)
    >>> every = {"inputs": torch.arange(2).expand(4, 2), "outputs": torch.arange(3).expand(4, 3)}
    >>> y, macs = convolve_each(x, conv, **every, scale=torch.ones(4, 3), shift=torch.zeros(4, 3))
    >>> torch.allclose(y, conv(x), atol=1e-6), macs
    (True, 486)
    """
    check_conv(conv), output_size(conv, check_input(x, conv.in_channels))
    image = torch.arange(len(x))[:, None]
    for name, index, high in (("inputs", inputs, conv.in_channels), ("outputs", outputs, conv.out_channels)):
        _check_index(index, name, len(x), high)
    for name, factor in (("scale", scale), ("shift", shift)):
        _check_factor(factor, name, (len(x), conv.out_channels))
    kernels = (outputs[:, :, None] * conv.in_channels + inputs[:, None]).flatten()
    weight = conv.weight.flatten(0, 1).index_select(0, kernels).reshape(-1, inputs.shape[1], *conv.kernel_size)
    weight.mul_(scale.gather(1, outputs).reshape(-1, 1, 1, 1))  # (n k, c, kh, kw)
    chosen = x.flatten(0, 1).index_select(0, (image * x.shape[1] + inputs).flatten())[None]
    z = _convolve_groups(chosen, weight, conv, shift.gather(1, outputs).flatten(), len(x))
    y = x.new_zeros(len(x), conv.out_channels, *z.shape[2:])
    y[image, outputs] = z.reshape(len(x), -1, *z.shape[2:])
    return y, inputs.shape[1] * outputs.shape[1] * per_output(conv) * math.prod(y.shape[2:])


def convolve_positions(x: Tensor, conv: nn.Conv2d, where: Tensor, *, first: int = 0) -> tuple[Tensor, Tensor]:
    """Convolve only at chosen positions of each output channel.

    Parameters
    ----------
    x : (n, C, H, W)
    conv : a convolution without bias and groups, C channels in, K out
    where : bool (n, K, H', W'), the outputs that are wanted
    first : the first input channel that is read, 0 to C - 1; those before it are left out of the sums

    Returns
    -------
    y (n, K, H', W'), zero where nothing was wanted, and the multiply-adds of each image, int64 (n,)

    Raises
    ------
    TypeError, ValueError : a tensor of another shape or type, or another kind of convolution.

    Each wanted output costs (C - first) kh kw multiply-adds. Dong et al. (2017), arXiv:1703.08651. Chapter 29.

    >>> conv, where = nn.Conv2d(4, 6, 3, bias=False), torch.zeros(1, 6, 3, 3, dtype=torch.bool)
    >>> where[0, 2, 1, 1] = True
    >>> y, macs = convolve_positions(torch.ones(1, 4, 5, 5), conv, where)
    >>> macs.tolist(), torch.allclose(y[0, 2, 1, 1], conv.weight[2].sum())
    ([36], True)
    """
    check_conv(conv), check_input(x, conv.in_channels)
    shape = (len(x), conv.out_channels, *output_size(conv, x))
    _check_mask(where, "where", shape)
    checks.integer(first, "first", low=0, high=conv.in_channels - 1)
    windows = functional.unfold(x[:, first:], conv.kernel_size, conv.dilation, cast(int, conv.padding), conv.stride)
    rows = windows.transpose(1, 2)  # (n, H' W', C kh kw)
    wanted = where.flatten(2)  # (n, K, H' W')
    y = x.new_zeros(wanted.shape)
    for k, w in enumerate(conv.weight[:, first:].flatten(1)):
        y[:, k][wanted[:, k]] = (rows[wanted[:, k]] @ w[:, None]).squeeze(1)
    return y.reshape(shape), wanted.sum((1, 2)) * rows.shape[2]


def active_channels(x: Tensor) -> Tensor:
    """Return, bool (n, C), which channels of x (n, C, H, W) are not zero everywhere.

    Raises TypeError or ValueError for another kind of x.

    >>> active_channels(torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1))
    tensor([[False,  True]])
    """
    return (check_input(x) != 0).flatten(2).any(2)


def unbiased(in_channels: int, out_channels: int, window: Window) -> nn.Conv2d:
    """Return a new convolution without bias; TypeError or ValueError unless the channels are integers of at least 1.

    >>> unbiased(2, 4, Window(3, padding=1))
    Conv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    """
    c, k = checks.size(in_channels, "in_channels"), checks.size(out_channels, "out_channels")
    return nn.Conv2d(c, k, **asdict(window), bias=False)


def bare(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Return copies of a convolution and its batch norm in which the convolution has no bias.

    The bias moves into the running mean: (y + b) - m = y - (m - b). Without a norm one is made that changes nothing
    in evaluation mode but adds the bias. Raises TypeError or ValueError for layers of another kind, or channels that
    do not fit.

    >>> x, conv = torch.ones(1, 2, 4, 4), nn.Conv2d(2, 3, 3)
    >>> plain, norm = bare(conv, None)
    >>> torch.allclose(norm.eval()(plain(x)), conv(x), atol=1e-6)
    True
    """
    check_conv(conv, bias=True)
    norm = identity_norm(conv) if norm is None else copy.deepcopy(checks.instance(norm, "norm", nn.BatchNorm2d))
    if norm.num_features != conv.out_channels or norm.running_mean is None or norm.weight is None:
        raise ValueError(f"norm must be affine, with running means of {conv.out_channels} channels, got {norm}")
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        cast(Any, conv.kernel_size),
        cast(Any, conv.stride),
        cast(Any, conv.padding),
        cast(Any, conv.dilation),
        bias=False,
    ).to(conv.weight)
    plain.weight.data.copy_(conv.weight.data)
    if conv.bias is not None:
        norm.running_mean.sub_(conv.bias.detach())
    return plain.train(conv.training), norm


def layer_config(conv: nn.Conv2d, norm: nn.BatchNorm2d, *left_out: str) -> dict[str, Any]:
    """Return the arguments that build a dynamic layer with such a convolution and batch norm, as plain values.

    `left_out` are arguments of a convolution that the layer does not take.

    >>> sorted(layer_config(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), "dilation"))
    ['in_channels', 'kernel_size', 'norm', 'out_channels', 'padding', 'stride']
    """
    without = {"groups", "bias", "padding_mode", *left_out}
    sizes = {name: value for name, value in conv_config(conv).items() if name not in without}
    return sizes | {"norm": norm_config(norm)}


def norm_config(norm: nn.BatchNorm2d) -> dict[str, Any]:
    """Return the settings of a batch norm that its state does not hold.

    >>> norm_config(nn.BatchNorm2d(2, eps=1e-3))
    {'eps': 0.001, 'momentum': 0.1}
    """
    return {"eps": norm.eps, "momentum": norm.momentum}


def norm_settings(value: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return eps and momentum as arguments of `nn.BatchNorm2d`, as `norm_config` gave them, or none for None.

    Raises TypeError or ValueError unless eps is a number above 0 and momentum one from 0 to 1, or None.

    >>> norm_settings({"eps": 0})
    Traceback (most recent call last):
    ValueError: norm['eps'] must be above 0, got 0
    """
    made = {} if value is None else dict(checks.instance(value, "norm", Mapping))
    for name, setting in made.items():
        if checks.choice(name, "norm", ("eps", "momentum")) == "eps":
            checks.positive(setting, "norm['eps']")
        elif setting is not None:
            checks.number(setting, "norm['momentum']", low=0, high=1)
    return made


def identity_norm(conv: nn.Conv2d) -> nn.BatchNorm2d:
    """Return a batch norm for the outputs of conv that changes nothing in evaluation mode, up to rounding.

    >>> norm = identity_norm(nn.Conv2d(1, 2, 3)).eval()
    >>> torch.allclose(norm(torch.ones(1, 2, 1, 1)), torch.ones(()))
    True
    """
    norm = nn.BatchNorm2d(conv.out_channels).to(conv.weight).train(conv.training)
    cast(Tensor, norm.running_var).fill_(1 - norm.eps)
    return norm


def per_output(conv: nn.Conv2d) -> int:
    """Return the products that one output takes for each input channel: the size of the kernel's window.

    >>> per_output(nn.Conv2d(4, 6, 3))
    9
    """
    return math.prod(conv.kernel_size)


def output_size(conv: nn.Conv2d, x: Tensor) -> tuple[int, int]:
    """Return height and width of the output of conv for x (n, C, H, W); ValueError if the kernel does not fit.

    >>> output_size(nn.Conv2d(1, 1, 3, stride=2), torch.zeros(1, 1, 28, 28))
    (13, 13)
    """
    axes = zip(x.shape[2:], conv.kernel_size, conv.stride, cast(Any, conv.padding), conv.dilation, strict=True)
    h, w = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)
    if min(h, w) < 1:
        raise ValueError(f"x must be at least as large as the kernel {conv.kernel_size}, got {tuple(x.shape)}")
    return h, w


def check_conv(layer: Any, name: str = "conv", *, bias: bool = False) -> nn.Conv2d:
    """Return layer if it is a convolution that can be gathered: one group, zeros as numeric padding.

    `bias` allows one. Raises TypeError or ValueError otherwise.

    >>> check_conv(nn.Conv2d(2, 2, 3, groups=2, bias=False))
    Traceback (most recent call last):
    ValueError: conv must have one group, zeros as numeric padding and no bias, got Conv2d(2, 2, ...)
    """
    layer = checks.instance(layer, name, nn.Conv2d)
    plain = layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if not plain or (layer.bias is not None and not bias):
        tail = "" if bias else " and no bias"
        raise ValueError(f"{name} must have one group, zeros as numeric padding{tail}, got {layer}")
    return layer


def check_input(x: Any, channels: int | None = None) -> Tensor:
    """Return x if it is a batch of pictures (n, C, H, W) of floating-point numbers, C = channels if given.

    Raises TypeError or ValueError otherwise. NaN is not looked for: it would cost a pass over every input.

    >>> check_input(torch.zeros(2, 3, 4, 4), 1)
    Traceback (most recent call last):
    ValueError: x must be (n, 1, H, W) and not empty, got (2, 3, 4, 4)
    """
    if checks.floating(x, "x").dim() != 4 or not x.numel() or (channels is not None and x.shape[1] != channels):
        raise ValueError(f"x must be (n, {channels or 'C'}, H, W) and not empty, got {tuple(x.shape)}")
    return x


def check_bool(mask: Any, name: str) -> Tensor:
    """Return mask if it is a bool tensor; TypeError otherwise.

    >>> check_bool(torch.ones(2), "mask")
    Traceback (most recent call last):
    TypeError: mask must be a bool tensor, got dtype torch.float32
    """
    if checks.instance(mask, name, Tensor).dtype != torch.bool:
        raise TypeError(f"{name} must be a bool tensor, got dtype {mask.dtype}")
    return mask


def _check_mask(mask: Any, name: str, shape: tuple[int, ...]) -> None:
    if check_bool(mask, name).shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(mask.shape)}")


def _check_factor(factor: Any, name: str, shape: tuple[int, int]) -> None:
    if checks.floating(factor, name).shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(factor.shape)}")


def _check_index(index: Any, name: str, n: int, high: int) -> None:
    if checks.instance(index, name, Tensor).dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got dtype {index.dtype}")
    if index.dim() != 2 or len(index) != n or not 1 <= index.shape[1] <= high:
        raise ValueError(f"{name} must be ({n}, 1 to {high}), got {tuple(index.shape)}")
    if not 0 <= int(index.min()) <= int(index.max()) < high:
        raise ValueError(f"{name} must be channels from 0 to {high - 1}, got {int(index.min())} to {int(index.max())}")


def _groups(sets: Tensor, group: bool) -> Iterator[Tensor]:
    """Yield indices of images: those with equal rows of `sets` together, or each alone."""
    if not group:
        yield from torch.arange(len(sets)).split(1)
        return
    _, which = torch.unique(sets, dim=0, return_inverse=True)
    order = which.argsort(stable=True)
    yield from order.split(which.bincount().tolist())


def _convolve_groups(x: Tensor, weight: Tensor, conv: nn.Conv2d, bias: Tensor, groups: int) -> Tensor:
    """Convolve in one call, or group by group where channels do not fill vectors and there is much to compute."""
    c, k = weight.shape[1], len(weight) // groups
    if not _is_busy(x, weight[:k], conv) or c % VECTOR == k % VECTOR == 0:
        return _convolve(x, weight, conv, bias, groups=groups)
    parts = zip(x.split(c, 1), weight.split(k), bias.split(k), strict=True)
    return torch.cat([_convolve(part, w, conv, b) for part, w, b in parts], 1)


def _convolve(x: Tensor, weight: Tensor, conv: nn.Conv2d, bias: Tensor | None = None, *, groups: int = 1) -> Tensor:
    """Convolve by oneDNN where that pays: for one image of few pixels torch itself takes a slower way."""
    padding = cast(Any, conv.padding)
    native = x.dtype == torch.float32 and x.device.type == "cpu" and _ONEDNN and not torch.is_grad_enabled()
    if native and _is_busy(x, weight[: len(weight) // groups], conv):
        return torch.ops.aten.mkldnn_convolution(x, weight, bias, padding, conv.stride, conv.dilation, groups)
    return functional.conv2d(x, weight, bias, conv.stride, padding, conv.dilation, groups)


def _is_busy(x: Tensor, weight: Tensor, conv: nn.Conv2d) -> bool:
    """Tell whether the filters of one image have enough multiply-adds to make up for oneDNN's set-up."""
    return weight.numel() * x.shape[2] * x.shape[3] >= BUSY * math.prod(conv.stride)
