"""The window of a convolution: its size, and how it moves over the picture."""

from dataclasses import dataclass
from typing import Any

from labkit import checks

Pair = int | tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Kernel size, stride, padding and dilation, each an int or a pair (vertical, horizontal), as in torch.

    `padding` counts the zeros put on every side. Raises TypeError or ValueError unless all are integers, at least 1
    (padding: at least 0). Chapter 3.

    >>> Window(3, stride=2, padding=1).output((7, 7))
    (4, 4)
    """

    kernel_size: Any
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1

    def __post_init__(self) -> None:
        for name, low in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(getattr(self, name), name, low=low))

    @property
    def extent(self) -> tuple[int, int]:
        """The height and width that the dilated kernel covers: d (k - 1) + 1."""
        (dh, dw), (kh, kw) = self.dilation, self.kernel_size
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    def output(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return how many places the window takes, down and across: floor((n + 2 p - d (k - 1) - 1) / s) + 1."""
        padded = [n + 2 * p for n, p in zip(pair(shape, "shape", low=1), self.padding, strict=True)]
        if any(n < e for n, e in zip(padded, self.extent, strict=True)):
            raise ValueError(
                f"kernel_size must fit: with dilation it covers {self.extent}, the picture {tuple(padded)}"
            )
        down, across = ((n - e) // s + 1 for n, e, s in zip(padded, self.extent, self.stride, strict=True))
        return down, across


def pair(value: Any, name: str, *, low: int) -> tuple[int, int]:
    """Return an int as the pair of itself, a pair of ints as it is; TypeError or ValueError otherwise.

    >>> pair(3, "stride", low=1)
    (3, 3)
    """
    sides = value if isinstance(value, tuple | list) else (value, value)
    if len(sides) != 2:
        raise ValueError(f"{name} must be an integer or a pair of integers, got {value!r}")
    down, across = (checks.integer(side, name, low=low) for side in sides)
    return down, across


def sides(**given: Any) -> dict[str, Any]:
    """Return the sides of a convolution as pairs, by name; a padding may be 0. Errors as for `pair`.

    >>> sides(kernel_size=3, padding=(0, 1))
    {'kernel_size': (3, 3), 'padding': (0, 1)}
    """
    return {name: pair(value, name, low=int(name != "padding")) for name, value in given.items()}


def check_groups(c: int, shape: tuple[int, ...], groups: Any) -> int:
    """Return the number of groups, if weights of `shape` (K, C / groups, kh, kw) fit c channels; an error otherwise.

    >>> check_groups(4, (6, 2, 3, 3), 2)
    2
    """
    g = checks.integer(groups, "groups", low=1)
    if c % g or shape[0] % g:
        raise ValueError(f"groups must divide the {c} channels of x and the {shape[0]} filters of w, got {groups}")
    if shape[1] != c // g:
        raise ValueError(f"w must have {c // g} channels for x with {c} and {g} group(s), got shape {tuple(shape)}")
    return g


def output_shape(
    shape: tuple[int, int], kernel_size: Pair, *, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> tuple[int, int]:
    """Return height and width of a convolution's output for a picture of `shape` (H, W).

    Parameters
    ----------
    shape : height and width of the picture, without padding
    kernel_size, stride, padding, dilation : int or pair (vertical, horizontal), as in torch

    Raises
    ------
    TypeError, ValueError : not integers, too small, or the kernel does not fit.

    H' = floor((H + 2 p - d (k - 1) - 1) / s) + 1. Chapter 3; lecture 000:169-177.

    >>> output_shape((224, 224), 11, stride=4, padding=2)
    (55, 55)
    """
    return Window(kernel_size, stride, padding, dilation).output(shape)
