"""Digits and photographs: the data of the book, with checksums and an offline subset.

>>> digits = mnist("test", source="offline")
>>> digits
Digits(split='test', n=1000, source='offline')
"""

from labkit.datasets.cifar import CIFAR10_CLASSES, cifar10, has_cifar10
from labkit.datasets.digits import CHECKSUMS, MIRRORS, SOURCES, SPLITS, mnist
from labkit.datasets.images import ColorImages, Digits, LabelledImages
from labkit.datasets.photographs import photograph

__all__ = [
    "CHECKSUMS",
    "CIFAR10_CLASSES",
    "MIRRORS",
    "SOURCES",
    "SPLITS",
    "ColorImages",
    "Digits",
    "LabelledImages",
    "cifar10",
    "has_cifar10",
    "mnist",
    "photograph",
]
