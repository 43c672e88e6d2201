"""The networks of the book, one file per family, and the trained copies in `data/checkpoints`."""

from labkit.nets.lenet import LeNet5, LeNet300
from labkit.nets.store import NETS, load, provenance, save

__all__ = ["NETS", "LeNet5", "LeNet300", "load", "provenance", "save"]
