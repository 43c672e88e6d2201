"""Low-rank decomposition and knowledge transfer: the factorised network learns from the dense one. Chapter 9.

Lin et al. (2019), "Holistic CNN compression via low-rank decomposition with knowledge transfer",
doi:10.1109/TPAMI.2018.2873305. Lecture 003:1824-1827.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from labkit import checks


def lrdkt(
    teacher: nn.Module,
    layers: Iterable[str],
    *,
    local_weight: float = 1.0,
    global_weight: float = 1.0,
    temperature: float = 2.0,
) -> Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the objective by which a decomposed student learns from its dense teacher; `fit` takes it as `objective`.

    Parameters
    ----------
    teacher : the network before the decomposition; its weights stay as they are
    layers : names of the guided blocks, which both networks have and whose outputs have equal shapes
    local_weight : weight of the local knowledge, at least 0: the outputs of the blocks
    global_weight : weight of the global knowledge, at least 0: the softened answers
    temperature : T > 0, which softens the answers

    Raises
    ------
    TypeError, ValueError : a bad argument; when it is called, a student without these layers or of other shapes.

    With features F_l of the guided blocks and scores z,

        L = CE(z, y) + local_weight mean_l norm(F_l - F_l')^2 / norm(F_l')^2
          + global_weight T^2 KL(softmax(z' / T) || softmax(z / T)),

    where a dash marks the teacher's. Each block's error is relative, so that no block outweighs the others.
    Source above; softened answers: Hinton et al. (2015), arXiv:1503.02531. Chapter 9; lecture 003:1824-1827.

    >>> teacher = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    >>> x, y = torch.eye(6), torch.zeros(6, dtype=torch.int64)
    >>> both = lrdkt(teacher, ["0"])(teacher, x, y)
    >>> bool(torch.isclose(both, functional.cross_entropy(teacher(x), y)))  # the teacher has nothing to learn
    True
    """
    names = _names(teacher, layers)
    near = checks.number(local_weight, "local_weight", low=0)
    far, T = checks.number(global_weight, "global_weight", low=0), checks.positive(temperature, "temperature")

    def objective(student: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with checks.evaluating(teacher), features(teacher, names) as theirs:
            goal = teacher(x)
        with features(student, names) as mine:
            scores = student(x)
        local = torch.stack([_distance(mine[name], theirs[name], name) for name in names]).mean()
        return functional.cross_entropy(scores, y) + near * local + far * softened(scores, goal, temperature=T)

    return objective


def softened(scores: torch.Tensor, goal: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """Return T^2 KL(softmax(goal / T) || softmax(scores / T)), the mean over the rows (n, classes), in nats.

    Raises TypeError or ValueError unless both have one shape and the temperature T is above 0.

    >>> softened(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0]]), temperature=3.0).item()
    0.0
    """
    T = checks.positive(temperature, "temperature")
    if scores.shape != goal.shape or scores.dim() != 2:
        raise ValueError(f"scores and goal must have one shape (n, classes), got {_shape(scores)} and {_shape(goal)}")
    log_p, log_q = (functional.log_softmax(z / T, dim=1) for z in (goal, scores))
    return T**2 * functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


@contextmanager
def features(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Note the outputs of the named modules while the model runs inside the `with` block, gradients included.

    Raises ValueError for a module that the model does not have; the error names near matches.

    >>> model = nn.Sequential(nn.Linear(6, 4))
    >>> with features(model, ["0"]) as seen:
    ...     y = model(torch.eye(6))
    >>> seen["0"] is y
    True
    """
    modules = dict(checks.instance(model, "model", nn.Module).named_modules())
    seen: dict[str, torch.Tensor] = {}

    def noting(name: str) -> Callable[..., None]:
        def note(module: nn.Module, given: Any, output: torch.Tensor) -> None:
            seen[name] = output

        return note

    chosen = [checks.choice(name, "layers", modules) for name in names]
    hooks = [modules[name].register_forward_hook(noting(name)) for name in chosen]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _names(teacher: nn.Module, layers: Iterable[str]) -> tuple[str, ...]:
    modules = dict(checks.instance(teacher, "teacher", nn.Module).named_modules())
    if isinstance(layers, str) or not (names := tuple(layers)):
        raise TypeError(f"layers must be a list of at least one layer name, got {layers!r}")
    return tuple(checks.choice(name, "layers", modules) for name in names)


def _distance(mine: torch.Tensor, theirs: torch.Tensor, name: str) -> torch.Tensor:
    """Return norm(mine - theirs)^2 / norm(theirs)^2."""
    if mine.shape != theirs.shape:
        raise ValueError(f"layers[{name!r}] must give equal shapes, got {_shape(mine)} and {_shape(theirs)}")
    return (mine - theirs).square().sum() / theirs.square().sum().clamp_min(1e-12)


def _shape(x: torch.Tensor) -> tuple[int, ...]:
    return tuple(x.shape)
