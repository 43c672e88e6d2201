"""Low rank plus sparse against either alone, and fine-tuning with knowledge transfer. Chapter 9."""

import copy
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit.compress import compress
from labkit.datasets import Digits, mnist
from labkit.decomposition import LowRankSparse, grebdec, low_rank_plan, lrdkt
from labkit.decomposition.layers import weight_matrix
from labkit.decomposition.low_rank_sparse_layer import centred
from labkit.experiments.low_rank import FINE_TUNING_RATE, Row, means, trained
from labkit.experiments.registry import experiment
from labkit.nets import load
from labkit.training import evaluate, fit

NET, LAYER = "lenet-300-100", "fc1"
N_FIT = 4000  # digits whose inputs the decomposition sees
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the budget, for the low-rank part


@experiment(
    "low-rank-sparse",
    split="trained on the 55,000 digits of mnist('train') with the learning rate that train-lenet chose; decomposed "
    "with the first 4,000 of these, which also choose how the budget is shared out; error on the 10,000 of "
    "mnist('test'), output error on the first 2,000 of these",
    minutes=4,
    tiny={"source": "offline", "seeds": (0,), "budgets": (8,), "epochs": 1, "n_train": 300, "n_iter_max": 2},
)
def low_rank_sparse(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1, 2),
    budgets: tuple[int, ...] = (4, 8, 16),
    epochs: int = 15,
    n_train: int | None = None,
    n_iter_max: int = 15,
) -> dict[str, Any]:
    """LeNet-300-100's first layer as low rank, as sparse and as both, at one budget of numbers or of bytes.

    A budget of 8 leaves an eighth of the layer's numbers or bytes. A number takes 4 bytes, a sparse one 2 more for
    its column. Of the six splits in `SHARES` the one that fits best stands for both. Nothing is fine-tuned.
    """
    digits, test = mnist("train", source=source)[:n_train], mnist("test", source=source)
    rows: list[Row] = []
    for seed in seeds:
        model = trained(NET, digits, epochs=epochs, seed=seed)
        layer, dense = _Layer(model, digits[:N_FIT].tensors()[0].flatten(1), test), evaluate(model, test).error
        for budget, (unit, data) in product(budgets, (("numbers", False), ("numbers", True), ("bytes", True))):
            labels = {"seed": seed, "error_before": dense, "budget": budget, "unit": unit, "data": data}
            rows += [labels | row for row in layer.at_budget(budget, unit, data, n_iter_max)]
    by = ("budget", "unit", "data", "method")
    return {"rows": rows, "summary": {"mean_test_error": means(rows, by), "mean_output_error": _outputs(rows, by)}}


@experiment(
    "low-rank-sparse-map",
    split="the shipped LeNet-300-100; decomposed with the first 4,000 of mnist('train', source='offline'); error and "
    "output error on the 5,000 of mnist('heldout', source='offline')",
    minutes=2,
    tiny={"ranks": (0, 4), "densities": (0.0, 0.02), "n_iter_max": 2},
)
def low_rank_sparse_map(
    output: Path,
    *,
    seeds: tuple[int, ...] = (0,),
    ranks: tuple[int, ...] = (0, 2, 4, 8, 12, 16, 24, 32, 48),
    densities: tuple[float, ...] = (0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12),
    n_iter_max: int = 15,
) -> dict[str, Any]:
    """LeNet-300-100's first layer at every pair of rank and density: error of weights, outputs and network.

    Nothing is drawn at random; the seed is that of the shipped network.
    """
    x = mnist("train", source="offline")[:N_FIT].tensors()[0].flatten(1)
    layer = _Layer(load(NET), x, mnist("heldout", source="offline"))
    rows: list[Row] = []
    for rank, density in product(ranks, densities):
        if rank or density:
            parts = layer.split(rank, density, data=True, n_iter_max=n_iter_max)
            rows.append({"rank": rank, "density": density} | layer.judged(parts))
    return {"rows": rows, "summary": {"dense_error": evaluate(layer.model, layer.test).error}}


class _Layer:
    """The first layer of a trained network, with the inputs that fit its decompositions and the digits that judge."""

    def __init__(self, model: nn.Module, x: torch.Tensor, test: Digits) -> None:
        self.model, self.test = model, test
        self.W = weight_matrix(model.get_submodule(LAYER))  # type: ignore[arg-type]
        X, self.mean = centred(x, self.W.shape[1])
        self.X: Any = X
        self.seen = test[:2000].tensors()[0].flatten(1).double().numpy().T - self.mean[:, None]

    def split(self, rank: int, density: float, *, data: bool, n_iter_max: int) -> LowRankSparse:
        return grebdec(self.W, self.X if data else None, rank=rank, density=density, n_iter_max=n_iter_max)

    def at_budget(self, budget: int, unit: str, data: bool, n_iter_max: int) -> Iterator[Row]:
        """Yield low rank, sparse and both; the share of both is the one with the least error for the fit."""
        made = [
            self.split(*_shared(self.W.shape, self.W.size / budget, share, unit), data=data, n_iter_max=n_iter_max)
            for share in SHARES
        ]
        best = min(made, key=lambda parts: parts.objective[-1])
        for method, parts in (("sparse", made[0]), ("low rank", made[-1]), ("both", best)):
            yield {"method": method} | self.judged(parts)

    def judged(self, parts: LowRankSparse) -> Row:
        """Return the size of the parts, and the errors of weight, outputs and network."""
        rest = self.W - parts.to_tensor()
        model: Any = copy.deepcopy(self.model)
        with torch.no_grad():
            model.fc1.bias += torch.as_tensor(rest @ self.mean).float()
            model.fc1.weight.copy_(torch.as_tensor(parts.to_tensor()))
        return {
            "rank_kept": parts.rank,
            "nnz": parts.nnz,
            "parameters": parts.n_params,
            "bytes": parts.n_bytes(),
            "weight_error": _relative(rest, self.W),
            "output_error": _relative(rest @ self.seen, self.W @ self.seen),
            "test_error": evaluate(model, self.test).error,
        }


def _shared(shape: tuple[int, int], numbers: float, share: float, unit: str) -> tuple[int, float]:
    """Return the rank that takes this share of the budget, rounded down, and the density that takes the rest."""
    m, n = shape
    rank = int(share * numbers / (m + n))
    left = (numbers - rank * (m + n)) / (1.5 if unit == "bytes" else 1.0)  # 4 bytes and 2 for the column
    return rank, left / (m * n) if share < 1 else 0.0


def _relative(rest: np.ndarray, whole: np.ndarray) -> float:
    return round(float(np.linalg.norm(rest) / np.linalg.norm(whole)), 4)


def _outputs(rows: list[Row], by: tuple[str, ...]) -> list[Row]:
    return means([row | {"test_error": 100 * row["output_error"]} for row in rows], by)


@experiment(
    "knowledge-transfer",
    split="the shipped LeNet-300-100 is the teacher; fine-tuned for one epoch on the first 10,000 of mnist('train'), "
    "the seed sets their order; error on the 10,000 of mnist('test'); no choice was made on these",
    minutes=2,
    tiny={"source": "offline", "seeds": (0,), "ranks": (8,), "n_train": 200},
)
def knowledge_transfer(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1, 2),
    ranks: tuple[int, ...] = (4, 8, 16),
    epochs: int = 1,
    n_train: int | None = 10_000,
) -> dict[str, Any]:
    """LeNet-300-100 at low rank, fine-tuned for equally many steps from labels alone and with parts of LRDKT.

    fc1 and fc2 have the same rank.
    """
    digits, test, teacher = mnist("train", source=source)[:n_train], mnist("test", source=source), load(NET)
    rows: list[Row] = []
    for rank in ranks:
        plan = low_rank_plan({"fc1": rank, "fc2": rank})
        small = compress(teacher, plan, example_inputs=test[:1].tensors()[0])[0]
        labels = {"rank": rank, "error_before": evaluate(small, test).error}
        for seed, (method, given) in product(seeds, _objectives(teacher).items()):
            student = copy.deepcopy(small)
            fit(student, digits, epochs=epochs, learning_rate=FINE_TUNING_RATE, random_state=seed, **given)
            rows.append(labels | {"method": method, "seed": seed, "test_error": evaluate(student, test).error})
    return {"rows": rows, "summary": {"mean_test_error": means(rows, ("rank", "method"))}}


def _objectives(teacher: nn.Module) -> dict[str, dict[str, Any]]:
    """Return what each method gives to `fit`."""
    blocks = ["fc1", "fc2"]
    return {
        "labels": {"progress": False},
        "local": {"progress": False, "objective": lrdkt(teacher, blocks, global_weight=0.0)},
        "global": {"progress": False, "objective": lrdkt(teacher, blocks, local_weight=0.0)},
        "both": {"progress": False, "objective": lrdkt(teacher, blocks)},
    }
