"""The networks of the book, one file per family, and the trained copies in `data/checkpoints`."""

from labkit.nets.alexnet import AlexNet, AlexNetOneTower
from labkit.nets.binary_lenet import BMXNET, BinaryLeNet, LeNet
from labkit.nets.binary_store import BINARY_NETS, binary_provenance, load_binary, save_binary
from labkit.nets.catalogue import ARCHITECTURES, skeleton
from labkit.nets.cifar_net import CifarNet, ConvBlock, load_fbs
from labkit.nets.googlenet import GoogLeNet
from labkit.nets.lenet import LeNet5, LeNet300
from labkit.nets.low_bit_lenet import LowBitLeNet, load_ternary, save_ternary, ternary_provenance
from labkit.nets.network import Network
from labkit.nets.power_store import load_powers, powers_provenance, save_powers
from labkit.nets.resnet import ResNet
from labkit.nets.small_resnet import SmallResNet, load_sgad, sgad_net
from labkit.nets.store import NETS, checkpoint_bytes, load, provenance, save
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
    "LowBitLeNet",
    "Network",
    "ResNet",
    "Scale",
    "SmallResNet",
    "SvhnNet",
    "VggSmall",
    "WinogradNet",
    "binary_provenance",
    "checkpoint_bytes",
    "load",
    "load_binary",
    "load_fbs",
    "load_powers",
    "load_sgad",
    "load_ternary",
    "load_winograd",
    "powers_provenance",
    "provenance",
    "save",
    "save_binary",
    "save_powers",
    "save_ternary",
    "sgad_net",
    "skeleton",
    "ternary_provenance",
]
