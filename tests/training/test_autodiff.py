"""The thirty-line differentiation against torch's."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labkit.training.autodiff import Scalar

NUMBERS = st.floats(-3, 3)


def layer(weights, biases, x, activation):
    """Return activation(W x + b) for lists of Scalars."""
    return [
        activation(sum((w * v for w, v in zip(row, x, strict=True)), b)) for row, b in zip(weights, biases, strict=True)
    ]


def test_a_network_of_three_layers_has_torchs_gradients():
    generator = torch.Generator().manual_seed(0)
    sizes = [(4, 3), (5, 4), (2, 5)]
    tensors = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in sizes]
    offsets = [torch.randn(s[0], generator=generator, dtype=torch.float64, requires_grad=True) for s in sizes]
    x = [0.3, -1.2, 0.7]
    weights = [[[Scalar(w) for w in row] for row in W.tolist()] for W in tensors]
    biases = [[Scalar(b) for b in B.tolist()] for B in offsets]
    h, t = [Scalar(v) for v in x], torch.tensor(x, dtype=torch.float64)
    for W, B, w, b, kind in zip(tensors, offsets, weights, biases, ("tanh", "relu", "exp"), strict=True):
        h = layer(w, b, h, lambda s, kind=kind: getattr(s, kind)())
        t = getattr(torch, kind)(W @ t + B)
    loss = sum(((v - 1) ** 2 for v in h), Scalar(0.0)).log()
    ((t - 1) ** 2).sum().log().backward()
    loss.backward()
    for W, w in zip(tensors + offsets, weights + biases, strict=True):
        grads = [s.grad for row in w for s in (row if isinstance(row, list) else [row])]
        assert grads == pytest.approx(W.grad.flatten().tolist(), abs=1e-6)


EXPRESSIONS = {
    "sum": lambda a, b: a + b + 1 + (2 + a),
    "difference": lambda a, b: a - b - (3 - a) - 1,
    "product": lambda a, b: a * b * 2 * (3 * a),
    "quotient": lambda a, b: a / (b * b + 1) + 1 / (a * a + 1) - b / 4,
    "power": lambda a, b: a**2 + (b**2 + 1) ** 0.5 + a**0,
    "functions": lambda a, b: a.exp() * b.tanh() + (a * a + 1).log() - (-b).relu(),
    "reuse": lambda a, b: (a * a) * (a * a) + b,
}


@pytest.mark.parametrize("name", EXPRESSIONS)
@given(a=NUMBERS, b=NUMBERS.filter(lambda b: b != 0))
def test_expressions_against_torch(name, a, b):
    x, y = Scalar(a), Scalar(b)
    s, t = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (a, b))
    ours, torchs = EXPRESSIONS[name](x, y), EXPRESSIONS[name](s, t)
    ours.backward()
    torchs.backward()
    assert ours.value == pytest.approx(torchs.item(), rel=1e-9, abs=1e-9)
    assert (x.grad, y.grad) == pytest.approx((s.grad.item(), t.grad.item()), rel=1e-6, abs=1e-6)


def test_backward_twice_forgets_and_deep_graphs_do_not_overflow():
    x = Scalar(2.0)
    y = x * x
    y.backward()
    y.backward()
    assert x.grad == 4
    total = x
    for _ in range(5000):
        total = total + x
    total.backward()
    assert x.grad == 5001
    assert repr(x) == "Scalar(2, grad=5001)"


def test_relu_at_zero_has_slope_zero():
    x = Scalar(0.0)
    x.relu().backward()
    assert x.grad == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Scalar("1"), TypeError, "value must be a number"),
        (lambda: Scalar(math.nan), ValueError, "value must be"),
        (lambda: Scalar(1.0) + "1", TypeError, "value must be a number"),
        (lambda: Scalar(1.0) * [1], TypeError, "value must be a number"),
        (lambda: Scalar(1.0) ** Scalar(2.0), TypeError, "n must be a number"),
        (lambda: Scalar(0.0).log(), ValueError, "value must be above 0"),
        (lambda: Scalar(1.0) / 0, ZeroDivisionError, "zero|0.0"),
        (lambda: Scalar(-1.0) ** 0.5, TypeError, "value must be a number"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
