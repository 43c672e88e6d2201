"""K-FAC: the curvature of a linear layer as one Kronecker product. A reading of chapter 6; lecture 000:1267-1268.

For one example a linear layer z = W a has the gradient g a^T, where g is the gradient of the loss with respect to z.
Its Fisher block is F = E[vec(g a^T) vec(g a^T)^T] = E[a a^T (x) g g^T]. K-FAC takes the two expectations apart,
F ~ A (x) G with A = E[a a^T] and G = E[g g^T], which is exact if a and g are independent.
Martens and Grosse (2015), arXiv:1503.05671.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.decomposition.kronecker import kron, kron_matmul, kron_solve, unvec, vec
from labkit.decomposition.response import find_layers


@dataclass(frozen=True, repr=False, eq=False)
class KroneckerFisher:
    """The Fisher block A (x) G of a linear layer: A (n, n) belongs to its inputs, G (m, m) to its outputs.

    Raises TypeError or ValueError unless both are square. Chapter 6.

    >>> KroneckerFisher(np.eye(3), np.eye(2))
    KroneckerFisher(A=(3, 3), G=(2, 2), n_params=13)
    """

    A: np.ndarray
    G: np.ndarray

    def __post_init__(self) -> None:
        for name, M in (("A", self.A), ("G", self.G)):
            shape = checks.matrix(M, name).shape
            if shape[0] != shape[1]:
                raise ValueError(f"{name} must be square, got shape {shape}")

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """The pair (A, G)."""
        return self.A, self.G

    @property
    def rank(self) -> int:
        """The number of Kronecker products, 1."""
        return 1

    @property
    def n_params(self) -> int:
        """Numbers stored: n^2 + m^2, where the whole block has n^2 m^2."""
        return self.A.size + self.G.size

    def to_tensor(self) -> np.ndarray:
        """Return the block A (x) G (m n, m n), which acts on vec(W)."""
        return kron(self.A, self.G)

    def matmul(self, x: np.ndarray) -> np.ndarray:
        """Return (A (x) G) x for x (m n,), by the vec trick."""
        return kron_matmul(self.A, self.G, x)

    def step(self, gradient: np.ndarray, *, damping: float = 0.0) -> np.ndarray:
        """Return the natural-gradient step G^-1 D A^-1 for the gradient D (m, n) of the weight.

        `damping` (a number, at least 0) is added to the block as the paper does it, split between the factors:
        A + pi sqrt(damping) I and G + sqrt(damping) / pi I, where pi^2 = (trace A / n) / (trace G / m). With
        damping 0 a singular factor raises np.linalg.LinAlgError.
        """
        D = checks.matrix(gradient, "gradient")
        (n, _), (m, _) = self.A.shape, self.G.shape
        if D.shape != (m, n):
            raise ValueError(f"gradient must have shape {(m, n)}, got {D.shape}")
        root = np.sqrt(checks.number(damping, "damping", low=0))
        means = np.trace(self.A) / n, np.trace(self.G) / m
        pi = np.sqrt(means[0] / means[1]) if min(means) > 0 else 1.0
        A, G = self.A + pi * root * np.eye(n), self.G + root / pi * np.eye(m)
        return unvec(kron_solve(A, G, vec(D)), (m, n))

    def __repr__(self) -> str:
        return f"KroneckerFisher(A={self.A.shape}, G={self.G.shape}, n_params={self.n_params})"


def kfac_factors(inputs: np.ndarray, gradients: np.ndarray) -> KroneckerFisher:
    """Return A = mean a a^T and G = mean g g^T from a layer's inputs a (N, n) and output gradients g (N, m).

    For a layer with a bias, append a 1 to every input. Raises TypeError or ValueError if the arrays do not fit.
    Martens and Grosse (2015), arXiv:1503.05671, section 3. Chapter 6; lecture 000:1267-1268.

    >>> kfac_factors([[1, 0], [0, 1]], [[2], [2]]).G
    array([[4.]])
    """
    a, g = _pair(inputs, gradients)
    return KroneckerFisher(a.T @ a / len(a), g.T @ g / len(g))


def fisher_block(inputs: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return the Fisher block itself, the mean of vec(g a^T) vec(g a^T)^T (m n, m n), from a (N, n) and g (N, m).

    It is here to compare `kfac_factors` with: for a layer of any size it is too large to store. Raises as there.
    Chapter 6.

    >>> fisher_block([[1, 0]], [[2]])
    array([[4., 0.],
           [0., 0.]])
    """
    a, g = _pair(inputs, gradients)
    v = (a[:, :, None] * g[:, None, :]).reshape(len(a), -1)  # (N, n m): vec(g a^T) of every example
    return v.T @ v / len(v)


def fisher_samples(
    model: nn.Module, x: torch.Tensor, *, layer: str, random_state: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs a (N, n) and output gradients g (N, m) of a linear layer of a classifier, for `kfac_factors`.

    The loss is the cross-entropy with labels drawn from the classifier's own distribution, as the Fisher matrix asks;
    the labels of a data set would give the "empirical Fisher", another matrix. A layer with a bias gets a 1 appended
    to its inputs. Raises TypeError or ValueError for a bad argument or a layer that is not nn.Linear.
    Chapter 6.

    >>> a, g = fisher_samples(nn.Sequential(nn.Linear(4, 3)), torch.eye(4), layer="0", random_state=0)
    >>> a.shape, g.shape
    ((4, 5), (4, 3))
    """
    chosen = checks.instance(find_layers(model, [layer])[layer], "layer", nn.Linear)
    seen: list[torch.Tensor] = []
    hook = chosen.register_forward_hook(lambda _, given, z: seen.extend((given[0], z)))
    try:
        scores = model(x)  # (N, classes)
    finally:
        hook.remove()
    p = scores.detach().softmax(1).double().cpu().numpy()
    u = checks.generator(random_state).uniform(size=(len(p), 1))
    labels = torch.as_tensor((p.cumsum(1) < u * p.sum(1, keepdims=True)).sum(1))
    loss = nn.functional.cross_entropy(scores, labels.to(scores.device), reduction="sum")
    (g,) = torch.autograd.grad(loss, seen[1])
    a = seen[0].detach().double().cpu().numpy()
    ones = np.ones((len(a), 1 if chosen.bias is not None else 0))
    return np.hstack([a, ones]), g.double().cpu().numpy()


def _pair(inputs: np.ndarray, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, g = checks.matrix(inputs, "inputs"), checks.matrix(gradients, "gradients")
    if len(a) != len(g):
        raise ValueError(f"inputs and gradients must have equally many rows, got {len(a)} and {len(g)}")
    return a, g
