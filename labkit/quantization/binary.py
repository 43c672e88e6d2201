r"""Layers with weights, and inputs, of +1 and -1: BinaryConnect, BNN, Binary-Weight-Network, XNOR-Net. Chapter 19.

Every layer keeps real weights W, to which the gradient adds, and uses their signs B in the forward pass:

| method         | classes             | weights   | inputs | after the product  |
|----------------|---------------------|-----------|--------|--------------------|
| BinaryConnect  | BinaryConnect...    | B         | real   |                    |
| BNN            | Binary...           | B         | signs  |                    |
| BWN            | BWN...              | B         | real   | times alpha        |
| XNOR-Net       | XNOR...             | B         | signs  | times alpha (and K)|

with alpha the mean of abs(W) for each output. Lecture 000:834-837, 003:1232-1247, 003:1366-1449.
"""

import copy
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional

from labkit import checks
from labkit.convolution.window import sides
from labkit.quantization.estimators import binarize, binarize_stochastic

Tensor = torch.Tensor


class SignActivation(nn.Module):
    """The sign of each number, with the straight-through gradient: BMXNet's QActivation. sign(0) = +1.

    >>> SignActivation()(torch.tensor([-2.0, 0.0]))
    tensor([-1.,  1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs."""
        return binarize(x)


class BinaryLayer:
    """What the binary linear layers and convolutions share; a mixin for nn.Linear and nn.Conv2d.

    `binary_input` says whether the input is replaced by its signs, `scaled` whether each output is multiplied by the
    mean of its absolute weights. `stochastic` draws the signs of the weights at random in training mode;
    `act_scale` multiplies XNOR outputs by the mean of the absolute inputs, which the released code leaves out.
    """

    binary_input = True
    scaled = False
    weight: Tensor
    training: bool
    stochastic: bool
    act_scale: bool

    def _set(self, stochastic: bool, act_scale: bool) -> None:
        for value, name in (stochastic, "stochastic"), (act_scale, "act_scale"):
            checks.flag(value, name)
        if act_scale and not (self.binary_input and self.scaled):
            raise ValueError(f"act_scale must be False for {type(self).__name__}; only XNOR layers scale their inputs")
        self.stochastic, self.act_scale = stochastic, act_scale

    def signs(self) -> Tensor:
        """Return the binary weights B, +1 and -1, with a straight-through gradient."""
        if self.stochastic and self.training:
            return binarize_stochastic(self.weight, window=float("inf"))
        return binarize(self.weight, window=1.0 if self.scaled else float("inf"))

    def scale(self) -> Tensor:
        """Return alpha (outputs,), the mean absolute weight of each output; ones for an unscaled layer."""
        if not self.scaled:
            return self.weight.new_ones(len(self.weight))
        return self.weight.abs().flatten(1).mean(1)

    def clip_(self) -> None:
        """Clip the real weights to [-1, 1], beyond which their signs cannot change any more often."""
        with torch.no_grad():
            self.weight.clamp_(-1, 1)

    def _input(self, x: Tensor) -> Tensor:
        return binarize(x) if self.binary_input else x


class BinaryLinear(BinaryLayer, nn.Linear):
    r"""A linear layer of a binarized neural network: y = sign(x) sign(W)^T + b.

    Parameters
    ----------
    in_features, out_features, bias : as for nn.Linear
    stochastic : draw the signs of the weights at random while training, with the real weights as their means

    The gradient with respect to W is the one with respect to sign(W); train with `clipped`, which keeps W in [-1, 1].
    Courbariaux et al. (2016), arXiv:1602.02830; lecture 003:1366-1449. Chapter 19.

    >>> BinaryLinear(64, 8)(torch.randn(5, 64)).shape
    torch.Size([5, 8])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        *,
        stochastic: bool = False,
        act_scale: bool = False,
        **kwargs: Any,
    ) -> None:
        sizes = checks.size(in_features, "in_features"), checks.size(out_features, "out_features")
        super().__init__(*sizes, checks.flag(bias, "bias"), **kwargs)
        self._set(stochastic, act_scale)

    @classmethod
    def from_linear(cls, layer: nn.Linear, **options: Any) -> Self:
        """Return a binary layer with the real weights and the bias of `layer`."""
        checks.instance(layer, "layer", nn.Linear)
        made = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta", **options)
        return _with_weights_of(made, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs for a batch x (..., in_features)."""
        y = functional.linear(self._input(x), self.signs()) * self.scale()  # signs first: their sums are exact
        if self.act_scale:
            y = y * x.abs().mean(-1, keepdim=True)
        return y if self.bias is None else y + self.bias

    def to_dense(self) -> nn.Linear:
        """Return an nn.Linear with the weights alpha B; on inputs of +1 and -1 it computes the same map."""
        dense = nn.Linear(self.in_features, self.out_features, self.bias is not None)
        return _filled(dense, self.scale()[:, None] * self.signs(), self)


class BinaryConv2d(BinaryLayer, nn.Conv2d):
    r"""A convolution of a binarized neural network: y = sign(x) * sign(W) + b.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias : as for nn.Conv2d
    stochastic : as for `BinaryLinear`
    act_scale : for `XNORConv2d`: multiply by K, the mean absolute input below each position of the filter

    The signs are taken after padding with zeros, so pixels outside the picture count as +1 and every product stays
    binary. Courbariaux et al. (2016), arXiv:1602.02830; lecture 003:1366-1449. Chapter 19.

    >>> BinaryConv2d(3, 8, 3, padding=1)(torch.randn(2, 3, 6, 6)).shape
    torch.Size([2, 8, 6, 6])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = False,
        *,
        stochastic: bool = False,
        act_scale: bool = False,
        **kwargs: Any,
    ) -> None:
        checks.size(in_channels, "in_channels"), checks.size(out_channels, "out_channels")
        window = sides(kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)
        groups, bias = checks.size(groups, "groups"), checks.flag(bias, "bias")
        super().__init__(in_channels, out_channels, groups=groups, bias=bias, **window, **kwargs)
        if self.padding_mode != "zeros":
            raise ValueError(f"padding_mode must be 'zeros', got {self.padding_mode!r}")
        self._set(stochastic, act_scale)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, **options: Any) -> Self:
        """Return a binary convolution with the real weights, the bias and the geometry of `conv`."""
        checks.instance(conv, "conv", nn.Conv2d)
        geometry: Any = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.bias is not None)
        made = cls(
            conv.in_channels, conv.out_channels, *geometry, padding_mode=conv.padding_mode, device="meta", **options
        )
        return _with_weights_of(made, conv)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (n, out_channels, h', w') for a batch x (n, in_channels, h, w)."""
        padding: Any = self.padding
        vertical, horizontal = padding
        padded = functional.pad(x, (horizontal, horizontal, vertical, vertical))
        y = self._convolve(self._input(padded), self.signs(), self.groups) * self.scale()[:, None, None]
        if self.act_scale:
            y = y * self._input_scale(padded)
        return y if self.bias is None else y + self.bias[:, None, None]

    def _convolve(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        return functional.conv2d(x, weight, None, self.stride, 0, self.dilation, groups)

    def _input_scale(self, x: Tensor) -> Tensor:
        """Return K (n, 1, h', w'): the mean over channels of abs(x), averaged by a box of the filter's size."""
        box = x.new_full((1, 1, *self.kernel_size), 1 / (self.kernel_size[0] * self.kernel_size[1]))
        return self._convolve(x.abs().mean(1, keepdim=True), box)

    def to_dense(self) -> nn.Conv2d:
        """Return an nn.Conv2d with the weights alpha B; on inputs of +1 and -1 it computes the same map.

        Its padding is 0, because zeros outside the picture are no signs: pad with +1 before it.
        """
        geometry: Any = (self.kernel_size, self.stride, 0, self.dilation, self.groups, self.bias is not None)
        dense = nn.Conv2d(self.in_channels, self.out_channels, *geometry)
        return _filled(dense, self.scale()[:, None, None, None] * self.signs(), self)


class BinaryConnectLinear(BinaryLinear):
    """BinaryConnect: binary weights, real inputs. Courbariaux et al. (2015), arXiv:1511.00363; lecture 000:834."""

    binary_input = False


class BinaryConnectConv2d(BinaryConv2d):
    """BinaryConnect: binary weights, real inputs. Courbariaux et al. (2015), arXiv:1511.00363; lecture 000:834."""

    binary_input = False


class BWNLinear(BinaryLinear):
    """Binary-Weight-Network: weights alpha B, real inputs. Rastegari et al. (2016), arXiv:1603.05279."""

    binary_input, scaled = False, True


class BWNConv2d(BinaryConv2d):
    """Binary-Weight-Network: weights alpha B, real inputs. Rastegari et al. (2016), arXiv:1603.05279."""

    binary_input, scaled = False, True


class XNORLinear(BinaryLinear):
    """XNOR-Net: weights alpha B, inputs of signs. Rastegari et al. (2016), arXiv:1603.05279; lecture 000:841-919."""

    scaled = True


class XNORConv2d(BinaryConv2d):
    """XNOR-Net: weights alpha B, inputs of signs, no scale K of the inputs unless `act_scale` asks for it.

    The paper derives K; its released code takes the signs of the inputs alone, and so does the default here.
    Rastegari et al. (2016), arXiv:1603.05279; lecture 000:841-919.
    """

    scaled = True


METHODS: dict[str, tuple[type[BinaryLinear], type[BinaryConv2d]]] = {
    "binary-connect": (BinaryConnectLinear, BinaryConnectConv2d),
    "bnn": (BinaryLinear, BinaryConv2d),
    "bwn": (BWNLinear, BWNConv2d),
    "xnor": (XNORLinear, XNORConv2d),
}


def binarize_model(
    model: nn.Module,
    method: str = "bnn",
    *,
    skip_first_last: bool = True,
    last_layer: str | None = None,
    **options: Any,
) -> nn.Module:
    """Return a copy of a network whose convolutions and linear layers are binary.

    Parameters
    ----------
    model : any network; its first and last such layer, in the order of `model.modules()`, stay real by default, as in
        every result on ImageNet that the lectures show (003:1220-1227)
    method : "binary-connect", "bnn", "bwn" or "xnor"
    skip_first_last : whether the first and the last layer stay real
    last_layer : "float" or "binary" decides for the last layer alone
    options : `stochastic`, `act_scale` for the layers

    Raises
    ------
    TypeError, ValueError : not a module, an unknown method or option, or nothing left to binarise.

    Rastegari et al. (2016), arXiv:1603.05279. Chapter 19; lecture 003:1220-1227, 1471-1476.

    >>> model = binarize_model(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)), "xnor")
    >>> [type(layer).__name__ for layer in model]
    ['Linear', 'XNORLinear', 'Linear']
    """
    linear, conv = METHODS[checks.choice(method, "method", METHODS)]
    model = copy.deepcopy(checks.instance(model, "model", nn.Module))
    for name in _chosen(model, skip_first_last, last_layer):
        layer: Any = model.get_submodule(name)
        make: Any = conv.from_conv if isinstance(layer, nn.Conv2d) else linear.from_linear
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, make(layer, **options))
    return model


def binary_layers(model: nn.Module) -> dict[str, Any]:
    """Return the binary layers of a network by name.

    >>> list(binary_layers(nn.Sequential(nn.Linear(2, 2), BinaryLinear(2, 2))))
    ['1']
    """
    checks.instance(model, "model", nn.Module)
    return {name: module for name, module in model.named_modules() if isinstance(module, BinaryLayer)}


def start_uniform(model: nn.Module, *, random_state: Any = None) -> None:
    """Give the real weights of every binary layer new values, uniform in [-1, 1], in place: BinaryConnect's start.

    Stochastic binarisation needs it: from the usual small weights every sign is a coin. `random_state` is an int, a
    NumPy Generator or None. Courbariaux et al. (2015), arXiv:1511.00363, and their program. Chapter 19.

    >>> model = nn.Sequential(BinaryLinear(100, 100))
    >>> start_uniform(model, random_state=0)
    >>> bool(model[0].weight.abs().max() > 0.99)
    True
    """
    with checks.seeded(random_state):
        for layer in binary_layers(model).values():
            nn.init.uniform_(layer.weight, -1, 1)


def clip_weights(model: nn.Module) -> None:
    """Clip the real weights of every binary layer to [-1, 1], in place: the last step of a BinaryConnect update.

    >>> layer = BinaryLinear(1, 1)
    >>> _ = nn.init.constant_(layer.weight, 3.0)
    >>> clip_weights(layer)
    >>> layer.weight.item()
    1.0
    """
    for layer in binary_layers(model).values():
        layer.clip_()


def clipped(model: nn.Module, optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam) -> Callable:
    """Return an optimizer for `labkit.training.fit` that clips the weights of the model's binary layers after a step.

    Courbariaux et al. (2016), arXiv:1602.02830, Algorithm 1; lecture 003:1427-1431. Chapter 19.

    >>> made = clipped(model := nn.Sequential(BinaryLinear(4, 2)))(model.parameters(), lr=0.1)
    >>> type(made).__name__
    'Adam'
    """
    checks.instance(model, "model", nn.Module)
    checks.function(optimizer, "optimizer")

    def make(parameters: Any, **settings: Any) -> torch.optim.Optimizer:
        made = optimizer(parameters, **settings)
        made.register_step_post_hook(lambda *_: clip_weights(model))
        return made

    return make


def _chosen(model: nn.Module, skip_first_last: bool, last_layer: str | None) -> list[str]:
    """Return the names of the layers to binarise."""
    checks.flag(skip_first_last, "skip_first_last")
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    last = (
        skip_first_last
        if last_layer is None
        else checks.choice(last_layer, "last_layer", ("float", "binary")) == "float"
    )
    chosen = names[int(skip_first_last) : len(names) - int(last)]
    if not chosen or "" in chosen:
        raise ValueError(f"model must have a layer to binarise besides those that stay real, got the layers {names}")
    return chosen


def _with_weights_of(made: Any, layer: Any) -> Any:
    made.to_empty(device=layer.weight.device).to(layer.weight.dtype)
    made.load_state_dict(layer.state_dict())
    return made.train(layer.training)


def _filled(dense: Any, weight: Tensor, layer: Any) -> Any:
    dense.to(layer.weight.dtype)
    with torch.no_grad():
        dense.weight.copy_(weight)
        if layer.bias is not None:
            dense.bias.copy_(layer.bias)
    return dense.train(layer.training)
