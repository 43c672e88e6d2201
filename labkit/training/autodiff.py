"""Reverse-mode automatic differentiation of scalars in some thirty lines: the chain rule, run backwards.

Every number remembers from which numbers it came and its slope with respect to each; `backward` walks the graph from
the result to the inputs and multiplies slopes along the way. Chapter 2; lecture 000:131-136, 769-775.
"""

import math
from typing import Any

from labkit import checks

Parents = tuple[tuple["Scalar", float], ...]  # (number it came from, slope with respect to it)


class Scalar:
    """A number whose arithmetic is remembered, so that `backward` can differentiate it.

    Supported are + - * / **, `exp`, `log`, `tanh` and `relu`, with other Scalars and with plain numbers. After
    `y.backward()` every Scalar x that y depends on has `x.grad` = dy/dx. Raises TypeError or ValueError unless the
    value is a finite real number.

    >>> x, w = Scalar(2.0), Scalar(-3.0)
    >>> y = (w * x + 7).tanh()
    >>> y.backward()
    >>> round(x.grad, 4), round(w.grad, 4)
    (-1.2599, 0.8399)
    """

    def __init__(self, value: float, parents: Parents = ()) -> None:
        self.value = checks.number(value, "value", low=-math.inf)
        self.parents, self.grad = parents, 0.0

    def __add__(self, other: Any) -> "Scalar":
        other = _scalar(other)
        return Scalar(self.value + other.value, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other: Any) -> "Scalar":
        other = _scalar(other)
        return Scalar(self.value * other.value, ((self, other.value), (other, self.value)))

    def __pow__(self, n: float) -> "Scalar":
        checks.number(n, "n", low=-math.inf)
        return Scalar(self.value**n, ((self, n * self.value ** (n - 1) if n else 0.0),))

    def exp(self) -> "Scalar":
        """Return e^x, whose slope is e^x."""
        return Scalar(y := math.exp(self.value), ((self, y),))

    def log(self) -> "Scalar":
        """Return the natural logarithm, whose slope is 1 / x; x must be above 0."""
        return Scalar(math.log(checks.positive(self.value, "value")), ((self, 1 / self.value),))

    def tanh(self) -> "Scalar":
        """Return tanh x, whose slope is 1 - tanh^2 x."""
        return Scalar(y := math.tanh(self.value), ((self, 1 - y * y),))

    def relu(self) -> "Scalar":
        """Return max(x, 0), whose slope at 0 is taken as 0."""
        return Scalar(max(self.value, 0.0), ((self, float(self.value > 0)),))

    def backward(self) -> None:
        """Set `grad` of every number that this one came from; grads of an earlier call are forgotten."""
        order = _topological(self)
        for node in order:
            node.grad = 0.0
        self.grad = 1.0
        for node in reversed(order):
            for parent, slope in node.parents:
                parent.grad += slope * node.grad

    def __neg__(self) -> "Scalar":
        return self * -1

    def __sub__(self, other: Any) -> "Scalar":
        return self + -_scalar(other)

    def __rsub__(self, other: Any) -> "Scalar":
        return _scalar(other) + -self

    def __truediv__(self, other: Any) -> "Scalar":
        return self * _scalar(other) ** -1

    def __rtruediv__(self, other: Any) -> "Scalar":
        return _scalar(other) * self**-1

    __radd__, __rmul__ = __add__, __mul__

    def __repr__(self) -> str:
        return f"Scalar({self.value:.6g}, grad={self.grad:.6g})"


def _scalar(value: Any) -> Scalar:
    return value if isinstance(value, Scalar) else Scalar(value)


def _topological(root: Scalar) -> list[Scalar]:
    """Return all numbers that `root` came from, each after its parents; a loop, since graphs are deep."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack += [(node, True), *((parent, False) for parent, _ in node.parents)]
    return order
