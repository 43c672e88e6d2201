"""The networks of the book, one file per family, and the trained copies in `data/checkpoints`."""

from labkit.nets.alexnet import AlexNet, AlexNetOneTower
from labkit.nets.catalogue import ARCHITECTURES, skeleton
from labkit.nets.googlenet import GoogLeNet
from labkit.nets.lenet import LeNet5, LeNet300
from labkit.nets.network import Network
from labkit.nets.resnet import ResNet
from labkit.nets.store import NETS, load, provenance, save
from labkit.nets.svhn import Scale, SvhnNet
from labkit.nets.vgg import VGG, VggSmall

__all__ = [
    "ARCHITECTURES",
    "NETS",
    "VGG",
    "AlexNet",
    "AlexNetOneTower",
    "GoogLeNet",
    "LeNet5",
    "LeNet300",
    "Network",
    "ResNet",
    "Scale",
    "SvhnNet",
    "VggSmall",
    "load",
    "provenance",
    "save",
    "skeleton",
]
