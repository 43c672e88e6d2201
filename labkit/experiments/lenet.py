"""Train the two LeNets that the book compresses."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit.datasets import Digits, mnist
from labkit.experiments.registry import experiment
from labkit.nets import NETS, save
from labkit.training import evaluate, fit

SPLIT = (
    "learning rate chosen on 5,000 of the 55,000 digits of mnist('train'); the shipped networks are then trained on "
    "all 55,000; error on the 5,000 digits of mnist('heldout') and the 10,000 of mnist('test'), seen by neither step"
)


@experiment(
    "train-lenet",
    split=SPLIT,
    minutes=10,
    tiny={"source": "offline", "epochs": {"lenet-300-100": 1, "lenet-5": 1}, "learning_rates": (1e-3,), "n_train": 500},
)
def train_lenet(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0,),
    epochs: dict[str, int] = {"lenet-300-100": 15, "lenet-5": 8},  # noqa: B006  (a setting, never changed)
    learning_rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3, 8e-3),
    n_train: int | None = None,
) -> dict[str, Any]:
    """Train LeNet-300-100 and LeNet-5 and write them to `checkpoints/`, weights in half precision."""
    digits = mnist("train", source=source)[:n_train]
    part, validation = digits.divide(len(digits) // 11, random_state=seeds[0])
    rows, summary = [], {}
    for name, n_epochs in epochs.items():
        tried = [_try(name, part, validation, rate, n_epochs, seeds[0]) for rate in learning_rates]
        best = min(tried, key=lambda row: row["validation_error"])
        model = _trained(name, digits, best["learning_rate"], n_epochs, seeds[0])
        summary[name] = _ship(
            model, name, output, source, best | {"epochs": n_epochs, "seed": seeds[0], "n_train": len(digits)}
        )
        rows += tried
    return {"rows": rows, "summary": summary}


def _try(name: str, part: Digits, validation: Digits, rate: float, epochs: int, seed: int) -> dict[str, Any]:
    error = evaluate(_trained(name, part, rate, epochs, seed), validation).error
    return {"net": name, "learning_rate": rate, "validation_error": round(error, 4)}


def _trained(name: str, digits: Digits, rate: float, epochs: int, seed: int) -> nn.Module:
    model = NETS[name](random_state=seed)
    fit(model, digits, epochs=epochs, learning_rate=rate, random_state=seed)
    return model


def _ship(model: nn.Module, name: str, output: Path, source: str, made: dict[str, Any]) -> dict[str, Any]:
    """Round the weights to half precision, measure before and after, save the network and return its header."""
    heldout, test = mnist("heldout", source=source), mnist("test", source=source)
    full = {"heldout_error_float32": evaluate(model, heldout).error, "test_error_float32": evaluate(model, test).error}
    model.load_state_dict({key: value.half().float() for key, value in model.state_dict().items()})
    header = made | {key: round(value, 4) for key, value in (full | _errors(model, heldout, test)).items()}
    header |= {"stored_as": "float16", "split": SPLIT, "batch_size": 128, "optimizer": "Adam"}
    header |= {"command": "python -m labkit.experiments train-lenet", "torch": torch.__version__}
    header["date"] = datetime.now(UTC).date().isoformat()
    save(model, output / "checkpoints" / f"{name}.safetensors", header=header, dtype=torch.float16)
    return header


def _errors(model: nn.Module, heldout: Digits, test: Digits) -> dict[str, float]:
    on_heldout, on_test = evaluate(model, heldout), evaluate(model, test)
    return {
        "heldout_accuracy": on_heldout.accuracy,
        "heldout_error": on_heldout.error,
        "accuracy": on_test.accuracy,
        "error": on_test.error,
    }
