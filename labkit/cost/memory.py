"""Bytes: on disk, in memory, and between the two; the memory access cost of a layer."""

import math

import torch
from safetensors.torch import save
from torch import nn

from labkit import checks


def file_bytes(model: nn.Module) -> int:
    """Return the size in bytes of the safetensors file that holds the model's whole state, its header included.

    Parameters
    ----------
    model : its parameters and buffers are counted in the types that they have; a shared tensor counts each time

    Raises TypeError if `model` is not a module. Chapter 5.

    >>> file_bytes(nn.Linear(784, 300)) - 4 * (300 * 784 + 300)  # the header
    144
    """
    checks.instance(model, "model", nn.Module)
    return len(
        save(
            {
                key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for key, value in model.state_dict().items()
            }
        )
    )


def memory_bytes(model: nn.Module, *, bits: int | None = None) -> int:
    """Return the bytes that a model's parameters and buffers take in memory, a shared one once.

    Parameters
    ----------
    model : the network
    bits : bits of each number (1 to 64), packed without gaps; by default those of the types that the tensors have

    Raises TypeError or ValueError for other arguments. Chapter 4.

    >>> memory_bytes(nn.Linear(1000, 8, bias=False)), memory_bytes(nn.Linear(1000, 8, bias=False), bits=1)
    (32000, 1000)
    """
    checks.instance(model, "model", nn.Module)
    tensors = {id(t): t for t in [*model.parameters(), *model.buffers()]}.values()
    if bits is None:
        return sum(t.numel() * t.element_size() for t in tensors)
    return -(-sum(t.numel() for t in tensors) * checks.integer(bits, "bits", low=1, high=64) // 8)


def memory_access_cost(c1: int, c2: int, *, h: int, w: int, groups: int = 1) -> int:
    """Return the numbers that a 1 x 1 convolution reads and writes: its input, its output and its weights, each once.

    MAC = h w (c1 + c2) + c1 c2 / groups

    Parameters
    ----------
    c1, c2 : channels of the input and the output, multiples of `groups`
    h, w : sides of the feature map

    Raises TypeError or ValueError for sizes below 1. Ma, Zhang, Zheng, Sun (2018), arXiv:1807.11164. Chapter 4;
    lecture 003:2704-2720.

    >>> memory_access_cost(64, 64, h=28, w=28), memory_access_cost(16, 256, h=28, w=28)  # with equal multiply-adds
    (104448, 217344)
    """
    sizes = {"c1": c1, "c2": c2, "h": h, "w": w, "groups": groups}
    for name, value in sizes.items():
        checks.integer(value, name, low=1)
    if c1 % groups or c2 % groups:
        raise ValueError(f"groups must divide c1 = {c1} and c2 = {c2}, got {groups}")
    return h * w * (c1 + c2) + c1 * c2 // groups


def memory_access_bound(macs: int, *, h: int, w: int) -> float:
    """Return the least memory access cost of any 1 x 1 convolution with B multiply-adds, reached where c1 = c2.

    MAC >= 2 sqrt(h w B) + B / (h w), by the inequality of the arithmetic and the geometric mean.

    Parameters
    ----------
    macs : multiply-adds B = h w c1 c2, at least 1
    h, w : sides of the feature map

    Raises TypeError or ValueError for sizes below 1. Chapter 4; lecture 003:2704-2720.

    >>> memory_access_bound(28 * 28 * 64 * 64, h=28, w=28)
    104448.0
    """
    area = checks.integer(h, "h", low=1) * checks.integer(w, "w", low=1)
    return 2 * math.sqrt(area * checks.integer(macs, "macs", low=1)) + macs / area
