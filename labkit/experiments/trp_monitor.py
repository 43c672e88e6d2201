"""TRP watched while it trains, for every nuclear weight, period and tolerance of the monitor. Chapter 9."""

import copy
from itertools import count as count_from
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit.datasets import Digits, mnist
from labkit.decomposition import TRPTrainer
from labkit.experiments.low_rank import RATES, Row
from labkit.experiments.registry import experiment
from labkit.nets import LeNet300
from labkit.training import evaluate, fit

BATCH = 128
SPECTRUM = 60  # singular values of fc1 that the monitor keeps


@experiment(
    "trp-monitor",
    split="trained on the 4,000 of mnist('train', source='offline'); error on the first 2,000 of "
    "mnist('heldout', source='offline'); no choice was made on either",
    minutes=3,
    tiny={"n_train": 200, "epochs": 1, "nuclear_weights": (1e-3,), "periods": (2,), "tols": (0.3, 0.6)},
)
def trp_monitor(
    output: Path,
    *,
    seeds: tuple[int, ...] = (0,),
    nuclear_weights: tuple[float, ...] = (0.0, 3e-3),
    periods: tuple[int, ...] = (8, 32, 128),
    tols: tuple[float, ...] = (0.2, 0.4, 0.6),
    epochs: int = 5,
    n_train: int | None = None,
) -> dict[str, Any]:
    """LeNet-300-100 by TRP for every nuclear weight, period and tolerance: spectrum of fc1 and errors, by epoch.

    `error_svd` is the error of the network that was trained plainly for as long, truncated to the same ranks.
    """
    digits = mnist("train", source="offline")[:n_train]
    heldout = mnist("heldout", source="offline")[:2000]
    rows: list[Row] = []
    for seed in seeds:
        plain = _by_epoch(LeNet300(random_state=seed), digits, torch.optim.Adam, epochs, seed)
        for weight, period, tol in product(nuclear_weights, periods, tols):
            model = LeNet300(random_state=seed)
            trainer = TRPTrainer(model, ["fc1", "fc2"], tol=tol, period=period, nuclear_weight=weight)
            trained = _by_epoch(model, digits, trainer.optimizer(), epochs, seed)
            labels = {"seed": seed, "nuclear_weight": weight, "period": period, "tol": tol}
            states = [_state(a, b, tol, heldout) for a, b in zip(trained, plain, strict=True)]
            rows += [labels | {"epoch": epoch} | state for epoch, state in enumerate(states, 1)]
    return {"rows": rows, "summary": {"n_runs": len(rows) // epochs}}


def _by_epoch(model: nn.Module, digits: Digits, optimizer: Any, epochs: int, seed: int) -> list[nn.Module]:
    """Train the model and return a copy of it after each epoch."""
    n_batches, steps, copies = -(-len(digits) // BATCH), count_from(1), []

    def keep(*_: Any) -> None:
        if next(steps) % n_batches == 0:
            copies.append(copy.deepcopy(model))

    def made(parameters: Any, **settings: Any) -> torch.optim.Optimizer:
        steps_down = optimizer(parameters, **settings)
        steps_down.register_step_post_hook(keep)
        return steps_down

    rate = RATES["lenet-300-100"]
    fit(
        model,
        digits,
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=rate,
        optimizer=made,
        random_state=seed,
        progress=False,
    )
    return copies


def _state(model: nn.Module, plain: nn.Module, tol: float, heldout: Digits) -> Row:
    """Return the spectrum of fc1 and the errors before and after truncation, also of the plain network."""
    small = copy.deepcopy(model)
    ranks = TRPTrainer(small, ["fc1", "fc2"], tol=tol).truncate()
    other = copy.deepcopy(plain)
    TRPTrainer(other, ranks).truncate()
    spectra = [torch.linalg.svdvals(net.get_parameter("fc1.weight").detach()) for net in (model, plain)]
    errors = [evaluate(net, heldout).error for net in (model, small, plain, other)]
    return {
        "rank_fc1": ranks["fc1"],
        "rank_fc2": ranks["fc2"],
        **dict(zip(("error", "error_truncated", "error_plain", "error_svd"), errors, strict=True)),
        "spectrum": [float(f"{s:.4g}") for s in spectra[0][:SPECTRUM]],
        "spectrum_plain": [float(f"{s:.4g}") for s in spectra[1][:SPECTRUM]],
    }
