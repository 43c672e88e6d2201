"""LeNet-5 with tensor decompositions in place of conv2 and fc1, and an LSTM with block terms. Chapter 8."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.compress import Scheme
from labkit.datasets import mnist
from labkit.decomposition import BTLSTMCell, CPScheme, LowRankScheme, TRScheme, TTScheme, TuckerScheme
from labkit.experiments.factorised import SPLIT, TINY, plan_rows, plan_times
from labkit.experiments.low_rank import Row, means
from labkit.experiments.registry import experiment
from labkit.training import evaluate, fit

TT_MODES: dict[str, Any] = {
    "in_modes": (5, 10, 4, 4),
    "out_modes": (5, 5, 5, 4),
}  # 800 = 50 channels of 4 x 4 pixels, 500
TR_MODES: dict[str, Any] = {"in_modes": (50, 16), "out_modes": (20, 25)}
RIDGE = 1e-3


@experiment(
    "tensor-layers",
    split=SPLIT,
    minutes=8,
    tiny=TINY | {"ranks": {"cp": (4,), "tucker": (4,), "tt": (2,)}},
    times=lambda made: plan_times(_plans(made.settings["ranks"])),
)
def tensor_layers(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1, 2),
    ranks: dict[str, tuple[int, ...]] = {  # noqa: B006  (a setting, never changed)
        "cp": (8, 24, 64),
        "cp ridge": (8, 24, 64),
        "cp 1x1 hw 1x1": (8, 24, 64),
        "tucker": (8, 16, 32),
        "svd conv2": (4, 12, 32),
        "tt": (4, 8, 16),
        "tr": (4, 8, 16),
        "svd fc1": (1, 4, 16),
    },
    n_train: int | None = 10_000,
) -> dict[str, Any]:
    """LeNet-5 with CP, Tucker or SVD for conv2 and tensor train, tensor ring or SVD for fc1, at several ranks.

    Tucker at rank r keeps r output and r / 2 input channels. The tensor train pairs the modes 5 x 10 x 4 x 4 of the
    800 inputs with 5 x 5 x 5 x 4 of the 500 outputs; the ring has 50 x 16 and 20 x 25.
    """
    rows = plan_rows(_plans(ranks), source, seeds, n_train)
    return {"rows": rows, "summary": {"mean_test_error": means(rows, ("layer", "form", "rank", "fine_tuned"))}}


def _plans(ranks: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, str, int, Scheme]]:
    """Yield (layer, form, rank, scheme)."""
    for form, several in ranks.items():
        for rank in several:
            layer, scheme = _scheme(form, rank)
            yield layer, form.split(" conv2")[0].split(" fc1")[0], rank, scheme


def _scheme(form: str, rank: int) -> tuple[str, Scheme]:
    """Return the layer that a form is for, and the scheme."""
    schemes: dict[str, tuple[str, Scheme]] = {
        "cp": ("conv2", CPScheme(rank=rank)),
        "cp ridge": ("conv2", CPScheme(rank=rank, ridge=RIDGE)),
        "cp 1x1 hw 1x1": ("conv2", CPScheme(rank=rank, separable=False)),
        "tucker": ("conv2", TuckerScheme(rank=(rank, rank // 2))),
        "svd conv2": ("conv2", LowRankScheme(rank=rank)),
        "tt": ("fc1", TTScheme(**TT_MODES, rank=rank)),
        "tr": ("fc1", TRScheme(**TR_MODES, rank=rank)),
        "svd fc1": ("fc1", LowRankScheme(rank=rank)),
    }
    return schemes[form]


# ---- a recurrent network

STRIP, IN_MODES, HIDDEN_MODES = 196, (14, 14), (8, 8)  # a digit is read as four strips of 7 x 28 pixels


@experiment(
    "bt-lstm",
    split="trained on the first 10,000 of mnist('train'); error on the 10,000 of mnist('test'); no choice was made",
    minutes=3,
    tiny=TINY | {"epochs": 1, "ranks": (1,), "n_terms": (1,)},
)
def bt_lstm(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: int = 4,
    ranks: tuple[int, ...] = (2, 4),
    n_terms: tuple[int, ...] = (1, 4),
    n_train: int | None = 10_000,
) -> dict[str, Any]:
    """An LSTM that reads digits strip by strip, with dense input weights or block terms, trained from scratch."""
    digits, test = mnist("train", source=source)[:n_train], mnist("test", source=source)
    forms = [(0, 0), *((p, r) for r in ranks for p in n_terms)]
    rows: list[Row] = []
    for (terms, rank), seed in ((form, seed) for form in forms for seed in seeds):
        model = StripReader(n_terms=terms, rank=rank, random_state=seed)
        fit(model, digits, epochs=epochs, learning_rate=2e-3, random_state=seed, progress=False)
        labels = {"form": "block terms" if terms else "dense", "n_terms": terms, "rank": rank, "seed": seed}
        sizes = {"input_weights": model.input_weights, "parameters": sum(p.numel() for p in model.parameters())}
        rows.append(labels | sizes | {"test_error": evaluate(model, test).error})
    keys = ("form", "n_terms", "rank", "input_weights", "parameters")
    return {"rows": rows, "summary": {"mean_test_error": means(rows, keys)}}


class StripReader(nn.Module):
    """An LSTM with 64 units that reads a digit of 28 x 28 pixels in four strips, and a linear layer on what it keeps.

    `n_terms` and `rank` are those of `BTLSTMCell`; n_terms = 0 makes it an nn.LSTMCell. `random_state` (an int, a
    NumPy Generator or None) seeds the initial weights. Ye et al. (2018), arXiv:1712.05134. Chapter 8.

    >>> StripReader(n_terms=2, rank=2, random_state=0)(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 10])
    """

    def __init__(self, *, n_terms: int = 0, rank: int = 1, random_state: Any = None) -> None:
        super().__init__()
        with checks.seeded(random_state):
            self.cell: nn.Module = (
                BTLSTMCell(IN_MODES, HIDDEN_MODES, rank=rank, n_terms=n_terms) if n_terms else nn.LSTMCell(STRIP, 64)
            )
            self.head = nn.Linear(64, 10)

    @property
    def input_weights(self) -> int:
        """The numbers that map a strip to the four gates, without biases."""
        blocks = getattr(self.cell, "inputs", None)
        return 4 * 64 * STRIP if blocks is None else sum(p.numel() for p in blocks.blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores (n, 10) of digits x (n, 1, 28, 28)."""
        state: Any = None
        for strip in x.reshape(len(x), -1, STRIP).unbind(1):
            state = self.cell(strip, state)
        return self.head(state[0])
