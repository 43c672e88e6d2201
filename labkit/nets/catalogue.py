"""Every network of the book by name, and a way to look at one without its weights."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.nets.alexnet import AlexNet, AlexNetOneTower
from labkit.nets.googlenet import GoogLeNet
from labkit.nets.lenet import LeNet5, LeNet300
from labkit.nets.resnet import ResNet
from labkit.nets.svhn import SvhnNet
from labkit.nets.vgg import VGG, VggSmall

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "lenet-300-100": LeNet300,
    "lenet-5": LeNet5,
    "svhn": SvhnNet,
    "vgg-small": VggSmall,
    "alexnet": AlexNet,
    "alexnet-one-tower": AlexNetOneTower,
    "vgg-11": partial(VGG, 11),
    "vgg-16": partial(VGG, 16),
    "vgg-19": partial(VGG, 19),
    "googlenet": GoogLeNet,
    "resnet-18": partial(ResNet, 18),
    "resnet-34": partial(ResNet, 34),
    "resnet-50": partial(ResNet, 50),
    "resnet-101": partial(ResNet, 101),
    "resnet-152": partial(ResNet, 152),
}


def skeleton(name: str, **options: Any) -> tuple[nn.Module, torch.Tensor]:
    """Return a network without memory for its weights and a batch of one that fits it, both on torch's meta device.

    Shapes are all that counting needs: VGG-16 is counted at once, without its 553 megabytes.

    Parameters
    ----------
    name : one of `ARCHITECTURES`
    options : `image_size`, `width`, `n_classes` and whatever else the network takes; the two LeNets take none

    Raises
    ------
    TypeError, ValueError : unknown name, unknown option, or an option outside its range.

    Chapter 4.

    >>> model, x = skeleton("resnet-18", image_size=64, n_classes=10)
    >>> model(x).shape, x.device.type
    (torch.Size([1, 10]), 'meta')
    """
    checks.choice(name, "name", ARCHITECTURES)
    with torch.device("meta"):
        model: Any = ARCHITECTURES[name](**options)
        return model.eval(), torch.empty(1, *model.input_shape)
