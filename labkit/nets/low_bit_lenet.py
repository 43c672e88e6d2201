"""LeNet-5 with batch normalisation and a choice of activation: one skeleton for all low-bit methods of chapter 19.

The quantizers of the weights are put on afterwards, by `binarize_model` or `quantize_weights`, and the layers between
the first and the last are those that they change. Chapter 19.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.nets.store import checkpoint, read, write
from labkit.quantization.gxnor import TernaryActivation
from labkit.quantization.recipe import ScaleLayer
from labkit.quantization.ternary import pack_codes, unpack_codes

WIDTHS = (20, 50, 500)  # those of LeNet5
GXNOR_WIDTHS = (32, 64, 512)  # those of the papers on TWN and GXNOR


class LowBitLeNet(nn.Module):
    """Two unpadded 5 x 5 convolutions and two linear layers; pooling, batch norm and activation after all but the last.

    Parameters
    ----------
    activation : makes the activation of each of the three hidden layers, such as `nn.ReLU` or `SignActivation`
    widths : filters of the two convolutions and hidden units, each at least 1
    prelu : put a PReLU before each batch norm, as Tang et al. do
    last : what follows the last layer: "none", "norm" (a batch norm) or "scale" (a `ScaleLayer`)
    random_state : an int, a NumPy Generator or None, seeds the initial weights

    The input is (n, 1, 28, 28), the output (n, 10) scores before the softmax. Raises TypeError or ValueError for bad
    arguments.

    >>> LowBitLeNet()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    input_shape = (1, 28, 28)
    norms = ("norm1", "norm2", "norm3")

    def __init__(
        self,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        widths: tuple[int, int, int] = WIDTHS,
        prelu: bool = False,
        last: str = "none",
        random_state: Any = None,
    ) -> None:
        super().__init__()
        a, b, c = (checks.integer(width, "widths", low=1) for width in widths)
        ends: dict[str, Callable[[], nn.Module]] = {
            "none": nn.Identity,
            "norm": lambda: nn.BatchNorm1d(10),
            "scale": ScaleLayer,
        }
        with checks.seeded(random_state):
            self.conv1, self.conv2 = nn.Conv2d(1, a, 5, bias=False), nn.Conv2d(a, b, 5, bias=False)
            self.fc1, self.fc2 = nn.Linear(16 * b, c, bias=False), nn.Linear(c, 10, bias=last == "none")
        self.pool = nn.MaxPool2d(2)
        self.prelu1, self.prelu2, self.prelu3 = (nn.PReLU() if prelu else nn.Identity() for _ in range(3))
        self.norm1, self.norm2, self.norm3 = nn.BatchNorm2d(a), nn.BatchNorm2d(b), nn.BatchNorm1d(c)
        self.act1, self.act2, self.act3 = activation(), activation(), activation()
        self.end: nn.Module = ends[checks.choice(last, "last", ends)]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores."""
        x = self.act1(self.norm1(self.prelu1(self.pool(self.conv1(x)))))  # (n, 20, 12, 12)
        x = self.act2(self.norm2(self.prelu2(self.pool(self.conv2(x)))))  # (n, 50, 4, 4)
        x = self.act3(self.norm3(self.prelu3(self.fc1(x.flatten(1)))))  # (n, 500)
        return self.end(self.fc2(x))  # (n, 10)

    def chain(self) -> nn.Sequential:
        """Return the same layers one behind the other, as `labkit.quantization.pack` takes them.

        >>> model, x = LowBitLeNet(random_state=0), torch.zeros(2, 1, 28, 28)
        >>> torch.equal(model.chain()(x), model(x))
        True
        """
        first = [self.conv1, self.pool, self.prelu1, self.norm1, self.act1]
        second = [self.conv2, self.pool, self.prelu2, self.norm2, self.act2]
        return nn.Sequential(
            *first, *second, nn.Flatten(), self.fc1, self.prelu3, self.norm3, self.act3, self.fc2, self.end
        )


TERNARY: dict[str, Callable[..., LowBitLeNet]] = {
    "twn-lenet": LowBitLeNet,
    "ttq-lenet": LowBitLeNet,
    "gxnor-lenet": partial(LowBitLeNet, activation=TernaryActivation, widths=GXNOR_WIDTHS, last="norm"),
}


def save_ternary(model: nn.Module, path: str | Path, *, layers: Iterable[str], header: dict[str, Any]) -> None:
    """Write a network with ternary layers: two bits for each of their weights, and one scale or two for each layer.

    A ternary layer holds 0, one positive and one negative number. If these are alpha and -alpha, as in TWN, the file
    has the scale alpha, otherwise, as in TTQ, the scales (Wp, Wn).

    Parameters
    ----------
    model : the network, without quantizers (`finalize`)
    path : the file, with suffix .safetensors
    layers : names of the ternary layers
    header : anything that JSON can hold

    Raises
    ------
    TypeError, ValueError : no module, another suffix, or a layer that is not ternary.

    >>> import tempfile
    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> model[0].weight.data = torch.tensor([[0.5, -0.5]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_ternary(model, Path(folder) / "net.safetensors", layers=["0"], header={})
    """
    state = dict(checks.instance(model, "model", nn.Module).state_dict())
    for name in layers:
        weight = state.pop(f"{checks.choice(name, 'layers', [key.removesuffix('.weight') for key in state])}.weight")
        codes, (plus, minus) = weight.sign(), (weight.max().clamp(min=0), -weight.min().clamp(max=0))
        scale = plus if plus == minus else torch.stack([plus, minus])
        if not torch.equal(_scaled(codes, scale), weight):
            raise ValueError(f"layers must be ternary, got other weights in {name!r}")
        state |= {f"{name}.codes": torch.from_numpy(pack_codes(codes)), f"{name}.scale": scale}
    write(state, path, header=header)


def _scaled(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return codes in {-1, 0, 1} times alpha, or times Wp above 0 and Wn below."""
    plus, minus = scale.expand(2)
    return torch.where(codes > 0, plus, torch.where(codes < 0, -minus, torch.zeros_like(plus)))


def load_ternary(name: str) -> LowBitLeNet:
    """Return a trained ternary network, unpacked, in evaluation mode.

    Parameters
    ----------
    name : "twn-lenet" or "ttq-lenet" (ternary weights in conv2 and fc1) or "gxnor-lenet" (ternary weights everywhere
        and ternary activations; it takes pixels between -1 and 1)

    Raises
    ------
    ValueError : unknown name, or a file that is damaged or does not fit.
    FileNotFoundError : the file is not in `data/checkpoints`.

    Made by `python -m labkit.experiments ternary-lenet` and `gxnor-lenet`. Chapter 19.

    >>> load_ternary("twn-lenet").fc1.weight.unique().numel()
    3
    """
    path = checkpoint(name, TERNARY)
    model, state = TERNARY[name](), read(path)[0]
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    try:
        for key in [key for key in state if key.endswith(".codes")]:
            layer = key.removesuffix(".codes")
            codes = unpack_codes(state.pop(key).numpy(), shape=shapes[f"{layer}.weight"])
            state[f"{layer}.weight"] = _scaled(torch.from_numpy(codes), state.pop(f"{layer}.scale"))
        model.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} does not hold a {name}: {error}") from error
    return model.eval()


def ternary_provenance(name: str) -> dict[str, Any]:
    """Return how a ternary network was made: errors, seed, split, command, torch version, date.

    Raises ValueError or FileNotFoundError as `load_ternary` does.

    >>> ternary_provenance("twn-lenet")["seed"]
    0
    """
    return read(checkpoint(name, TERNARY))[1]
