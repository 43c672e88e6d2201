"""The networks of the book, one file per family, and the trained copies in `data/checkpoints`."""

from labkit.nets.alexnet import AlexNet, AlexNetOneTower
from labkit.nets.binary_lenet import BMXNET, BinaryLeNet, LeNet
from labkit.nets.binary_store import BINARY_NETS, binary_provenance, load_binary, save_binary
from labkit.nets.catalogue import ARCHITECTURES, skeleton
from labkit.nets.cifar_net import CifarNet, ConvBlock
from labkit.nets.googlenet import GoogLeNet
from labkit.nets.lenet import LeNet5, LeNet300
from labkit.nets.network import Network
from labkit.nets.resnet import ResNet
from labkit.nets.small_resnet import SmallResNet
from labkit.nets.store import NETS, load, provenance, save
from labkit.nets.svhn import Scale, SvhnNet
from labkit.nets.vgg import VGG, VggSmall
from labkit.nets.winograd_net import WinogradNet, load_winograd

__all__ = [
    "ARCHITECTURES",
    "BINARY_NETS",
    "BMXNET",
    "NETS",
    "VGG",
    "AlexNet",
    "AlexNetOneTower",
    "BinaryLeNet",
    "CifarNet",
    "ConvBlock",
    "GoogLeNet",
    "LeNet",
    "LeNet5",
    "LeNet300",
    "Network",
    "ResNet",
    "Scale",
    "SmallResNet",
    "SvhnNet",
    "VggSmall",
    "WinogradNet",
    "binary_provenance",
    "load",
    "load_binary",
    "load_winograd",
    "provenance",
    "save",
    "save_binary",
    "skeleton",
]
