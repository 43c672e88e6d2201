"""Arithmetic of integer inference: exact int8 products, and a multiplier and a shift between two layers.

Chapter 15; lecture 003:977-993.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from labkit import checks
from labkit.quantization.uniform import integer_range
from labkit.sparse.relative import pack, unpack

MULTIPLIER_BITS = 22  # with a sum of 31 bits the product has 53, which float64 still holds exactly
Tensor = torch.Tensor


@dataclass(frozen=True)
class Levels:
    """The real numbers scale (q - zero_point) that activations of `bits` bits may take; zero_point is an integer.

    >>> Levels(0.5, 0, 8, signed=False).top
    127.5
    """

    scale: float
    zero_point: int = 0
    bits: int = 8
    signed: bool = True

    def __post_init__(self) -> None:
        checks.positive(self.scale, "scale")
        low, high = integer_range(checks.integer(self.bits, "bits", low=1, high=8), signed=self.signed, narrow=False)
        checks.integer(self.zero_point, "zero_point", low=low, high=high)

    @property
    def range(self) -> tuple[int, int]:
        """The smallest and the largest integer; symmetric where the zero point of signed integers is 0."""
        return integer_range(self.bits, signed=self.signed, narrow=self.zero_point == 0)

    @property
    def top(self) -> float:
        """The largest of these numbers."""
        return self.scale * (self.range[1] - self.zero_point)


def pack_integers(q: Tensor, *, bits: int) -> Tensor:
    """Return signed integers as a string of `bits` bits each, lowest bit first, in ceil(n bits / 8) bytes.

    Parameters
    ----------
    q : int8, any shape with n entries between -2^(bits-1) and 2^(bits-1) - 1
    bits : between 2 and 8

    Raises TypeError or ValueError for other arguments. Chapter 15.

    >>> pack_integers(torch.tensor([1, -1, -2, 0], dtype=torch.int8), bits=2)
    tensor([45], dtype=torch.uint8)
    """
    low, high = integer_range(checks.integer(bits, "bits", low=2, high=8), signed=True, narrow=False)
    if checks.instance(q, "q", Tensor).dtype != torch.int8 or not q.numel():
        raise TypeError(f"q must be int8 and not empty, got {q.dtype} of shape {tuple(q.shape)}")
    if int(q.min()) < low or int(q.max()) > high:
        raise ValueError(f"q must lie between {low} and {high}, got {int(q.min())} to {int(q.max())}")
    return torch.from_numpy(pack(q.cpu().numpy().ravel(), bits))  # the low bits of two's complement


def unpack_integers(packed: Tensor, *, bits: int, shape: tuple[int, ...]) -> Tensor:
    """Return the int8 tensor of a shape that `pack_integers` packed; TypeError or ValueError if the bytes do not fit.

    >>> unpack_integers(torch.tensor([45], dtype=torch.uint8), bits=2, shape=(4,)).tolist()
    [1, -1, -2, 0]
    """
    n, half = math.prod(checks.shape(shape)), 2 ** (checks.integer(bits, "bits", low=2, high=8) - 1)
    n_bytes = -(-n * bits // 8)
    if checks.instance(packed, "packed", Tensor).dtype != torch.uint8 or packed.shape != (n_bytes,):
        raise ValueError(f"packed must be {n_bytes} bytes, got {packed.dtype} of shape {tuple(packed.shape)}")
    codes = unpack(packed.cpu().numpy(), bits, n)
    return torch.from_numpy(((codes ^ half) - half).astype("int8")).reshape(shape)


def multiplier_and_shift(ratio: float) -> tuple[int, int]:
    """Return integers (M, n) with M / 2^n ~ ratio: M has 22 bits and is odd, unless the ratio is a power of two.

    An odd M never meets a tie: the integer sum s would have to be an odd multiple of 2^(n-1), and then s M / 2^n lies
    far outside of 8 bits. So it does not matter how a float twin rounds. Raises TypeError or ValueError unless
    2^-40 <= ratio < 2^21. Jacob et al. (2018), arXiv:1712.05877, section 2.2. Chapter 15; lecture 003:984-993.

    >>> multiplier_and_shift(0.25)
    (2097152, 23)
    >>> M, n = multiplier_and_shift(0.0123)
    >>> M % 2, abs(M / 2**n / 0.0123 - 1) < 2**-21
    (1, True)
    """
    fraction, exponent = math.frexp(checks.number(ratio, "ratio", low=2.0**-40, high=2.0**21))
    M = 2 * math.floor(fraction * 2 ** (MULTIPLIER_BITS - 1)) + (fraction != 0.5)  # the nearest odd number
    return M, MULTIPLIER_BITS - exponent


def requantize(total: Tensor, multiplier: Tensor, shift: Tensor, *, to: Levels) -> Tensor:
    """Return int32 sums as integers of the next layer: saturate((total M + 2^(n-1)) >> n + zero point).

    Only integers take part. `multiplier` and `shift` (1 to 62) are int64 and broadcast against `total`.
    Raises TypeError unless `total` is int32 and they are integers. Chapter 15; lecture 003:984-993.

    >>> requantize(torch.tensor([[100, -1000]], dtype=torch.int32), torch.tensor([1, 1]), torch.tensor([2, 3]),
    ...            to=Levels(1.0))
    tensor([[  25, -125]], dtype=torch.int8)
    """
    _check_sums(total, multiplier, shift, to)
    n = shift.long()
    rounded = (total.long() * multiplier + (1 << (n - 1))) >> n
    return (rounded + to.zero_point).clamp(*to.range).to(integer_type(to))


def quantize_to(x: Tensor, levels: Levels) -> Tensor:
    """Return real numbers as integers of the levels: round half up, saturate.

    Raises TypeError or ValueError unless x is a floating-point tensor without NaN; infinite entries saturate.

    >>> quantize_to(torch.tensor([-1.0, 0.2, 9.0]), Levels(0.1, bits=4, signed=False))
    tensor([ 0,  2, 15], dtype=torch.uint8)
    """
    checks.instance(levels, "levels", Levels)
    if checks.floating(x, "x").isnan().any():
        raise ValueError(f"x must not hold NaN, got {int(x.isnan().sum())} NaN entries")
    return (round_half_up(x.double() / levels.scale) + levels.zero_point).clamp(*levels.range).to(integer_type(levels))


def int_matmul(a: Tensor, b: Tensor) -> Tensor:
    """Return the exact product int32 of integer matrices (m, k) int8 or uint8 and (k, n) int8.

    Raises TypeError for other number types, ValueError for other shapes or a sum that may not fit into 32 bits.

    >>> int_matmul(torch.tensor([[200, 100]], dtype=torch.uint8), torch.tensor([[3], [-2]], dtype=torch.int8))
    tensor([[400]], dtype=torch.int32)
    """
    checks.instance(a, "a", Tensor), checks.instance(b, "b", Tensor)
    if a.dtype not in (torch.int8, torch.uint8) or b.dtype != torch.int8:
        raise TypeError(f"a must be int8 or uint8 and b int8, got {a.dtype} and {b.dtype}")
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != len(b):
        raise ValueError(f"a must be (m, k) and b (k, n), got {tuple(a.shape)} and {tuple(b.shape)}")
    if len(b) > 2**31 // 2**15 - 1:
        raise ValueError(f"b must have fewer than 65,535 rows for sums of 32 bits, got {len(b)}")
    if a.dtype == torch.uint8:  # the fast product takes int8 only: move a by 128, and correct for it
        moved = (a.to(torch.int16) - 128).to(torch.int8)
        return int_matmul(moved, b) + 128 * b.sum(0, dtype=torch.int32)
    return torch._int_mm(a.contiguous(), b.contiguous()) if _fast_product() else a.int() @ b.int()


def _check_sums(total: Any, multiplier: Any, shift: Any, to: Any) -> None:
    if checks.instance(total, "total", Tensor).dtype != torch.int32:
        raise TypeError(f"total must be int32, got {total.dtype}")
    for value, name in (multiplier, "multiplier"), (shift, "shift"):
        if checks.instance(value, name, Tensor).is_floating_point() or value.is_complex():
            raise TypeError(f"{name} must hold integers, got {value.dtype}")
        sides = zip(reversed(value.shape), reversed(total.shape), strict=False)
        if value.dim() > total.dim() or any(k not in (1, n) for k, n in sides):
            raise ValueError(f"{name} must broadcast against total, {tuple(total.shape)}, got {tuple(value.shape)}")
    if not shift.numel() or shift.min() < 1 or shift.max() > 62:
        raise ValueError("shift must lie between 1 and 62 bits, got others")
    checks.instance(to, "to", Levels)


@functools.cache
def _fast_product() -> bool:
    """Say whether torch has a product of int8 matrices that is exact here; some processors saturate inside."""
    a = torch.tensor([-128, 127, -128, -127], dtype=torch.int8).repeat(6, 40)
    b = torch.tensor([-128, 127, -128, 127], dtype=torch.int8).repeat(5, 40).T.contiguous()
    try:
        return torch.equal(torch._int_mm(a, b), a.int() @ b.int())
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def patches(q: Tensor, kernel: tuple[int, int], zero_point: int, *, stride: Any, padding: Any, dilation: Any) -> Tensor:
    """Return the windows of q (n, c, h, w) as rows (n, h', w', c kh kw); the padding is the integer that means 0."""
    (kh, kw), (ph, pw), (dh, dw), (sh, sw) = kernel, padding, dilation, stride
    q = functional.pad(q, (pw, pw, ph, ph), value=zero_point)
    windows = q.unfold(2, dh * (kh - 1) + 1, sh).unfold(3, dw * (kw - 1) + 1, sw)  # (n, c, h', w', dh.., dw..)
    return windows[..., ::dh, ::dw].permute(0, 2, 3, 1, 4, 5).flatten(3)


def round_half_up(x: Tensor) -> Tensor:
    """Round half up, as adding 2^(n-1) before a shift by n does."""
    return torch.floor(x + 0.5)


def integer_type(levels: Levels) -> torch.dtype:
    """Return the type of the integers: int8 if signed, uint8 if not."""
    return torch.int8 if levels.signed else torch.uint8
