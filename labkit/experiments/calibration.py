"""Post-training quantization of the LeNets: rules, bits, batches, channels, fixed point. Chapter 15."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from labkit import checks
from labkit.datasets import Digits, mnist
from labkit.experiments.registry import experiment
from labkit.nets import load
from labkit.quantization import CalibrationWarning, dynamic_fixed_point, ptq
from labkit.training import evaluate, fit

SPLIT = (
    "calibrated on batches of 25 digits of mnist('train'), drawn by the seed; error on the 10,000 of mnist('test'). "
    "The limits of the guard were set while looking at mnist('heldout'); the test digits were not used for it"
)
BATCH = 25  # as in the lecture's table
RULES: dict[str, dict[str, Any]] = {
    "max": {"rule": "max"},
    "percentile": {"rule": "percentile"},
    "mse": {"rule": "mse"},
    "kl": {"rule": "kl"},
    "kl, as published": {"rule": "kl", "zero_bin": "keep", "guard": False},
}
Row = dict[str, Any]


@experiment(
    "calibration",
    split=SPLIT,
    minutes=7,
    tiny={"source": "offline", "seeds": (0,), "bits": (8, 3), "batches": (5,), "n_test": 200, "n_train": 500},
)
def calibration(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1, 2),
    bits: tuple[int, ...] = (8, 6, 4, 3, 2),
    batches: tuple[int, ...] = (5, 10, 50),
    fixed_bits: tuple[int, ...] = (8, 6, 4),
    n_test: int | None = None,
    n_train: int | None = None,
) -> dict[str, Any]:
    """Quantize trained networks without training them: every rule at every number of bits.

    Weights keep 8 bits with a scale per channel, unless the study is about them. `batches` are batches of 25 digits.
    """
    digits, test = mnist("train", source=source)[:n_train], mnist("test", source=source)[:n_test]
    rows: list[Row] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        for seed in seeds:
            draw = np.random.default_rng(seed).permutation(len(digits))
            rows += _rule_rows(seed, digits[draw], test, bits, batches)
            rows += _batch_norm_rows(seed, digits[draw], test)
        draw = np.random.default_rng(seeds[0]).permutation(len(digits))
        rows += _weight_rows(seeds[0], digits[draw], test, bits)
        rows += _fixed_rows(seeds[0], digits[draw], test, fixed_bits)
    return {"rows": rows, "summary": {"mean_test_error": mean_errors(rows)}}


def mean_errors(rows: list[Row]) -> list[Row]:
    """Return the mean and the largest distance from it over the seeds, for every other column."""
    groups: dict[tuple, list[float]] = {}
    by = [key for key in rows[0] if key not in ("seed", "test_error")]
    for row in rows:
        groups.setdefault(tuple(row[key] for key in by), []).append(row["test_error"])
    return [
        dict(zip(by, key, strict=True))
        | {"mean": round(float(np.mean(e)), 4), "spread": round(float(np.ptp(e)) / 2, 4), "n": len(e)}
        for key, e in groups.items()
    ]


def small_batch_norm_net(digits: Digits, *, epochs: int = 3, seed: int = 0) -> nn.Sequential:
    """Return two trained 3 x 3 convolutions with batch norm, folded into them, and a linear layer.

    >>> small_batch_norm_net(mnist("train", source="offline")[:200], epochs=1)[0]
    Conv2d(1, 8, kernel_size=(3, 3), stride=(2, 2))
    """
    with checks.seeded(seed):
        first, second = (nn.Conv2d(c, m, 3, stride=2) for c, m in ((1, 8), (8, 16)))
        norms, last = (nn.BatchNorm2d(8), nn.BatchNorm2d(16)), nn.Linear(16 * 6 * 6, 10)
    model = nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU(), nn.Flatten(), last)
    fit(model, digits, epochs=epochs, learning_rate=3e-3, random_state=seed, progress=False)
    model.eval()
    folded = [fuse_conv_bn_eval(layer, norm) for layer, norm in zip((first, second), norms, strict=True)]
    return nn.Sequential(folded[0], nn.ReLU(), folded[1], nn.ReLU(), nn.Flatten(), last).eval()


def _row(study: str, net: str, seed: int, rule: str, test_error: float, **setting: Any) -> Row:
    defaults = {"bits": 32, "weight_bits": 32, "per_channel": True, "batches": 0}
    return {"study": study, "net": net, "seed": seed, "rule": rule} | defaults | setting | {"test_error": test_error}


def _error(model: nn.Module, test: Digits) -> float:
    return round(evaluate(model, test).error, 4)


def _batches(digits: Digits, n: int) -> tuple[torch.Tensor, ...]:
    return digits[: n * BATCH].tensors()[0].split(BATCH)


def _rule_rows(seed: int, digits: Digits, test: Digits, bits: tuple, batches: tuple) -> Iterator[Row]:
    """Yield every rule at every number of activation bits, and max and KL with other numbers of batches."""
    model, usual = load("lenet-5"), batches[len(batches) // 2]
    yield _row("rules", "lenet-5", seed, "float", _error(model, test))
    for n in batches:
        for b in bits if n == usual else (bits[0], bits[-2]):
            for name in RULES if n == usual else ("max", "kl"):
                made = ptq(model, _batches(digits, n), bits=b, weight_bits=8, **RULES[name])
                setting = {"bits": b, "weight_bits": 8, "batches": n}
                yield _row("rules" if n == usual else "batches", "lenet-5", seed, name, _error(made, test), **setting)


def _weight_rows(seed: int, digits: Digits, test: Digits, bits: tuple) -> Iterator[Row]:
    """Yield 8-bit activations with weights of few bits, one scale for the weight or one for each channel."""
    for net in ("lenet-5", "lenet-300-100"):
        model = load(net)
        yield _row("weights", net, seed, "float", _error(model, test))
        for b in bits:
            for per_channel in (False, True):
                made = ptq(model, _batches(digits, 10), bits=8, weight_bits=b, rule="max", per_channel=per_channel)
                setting = {"bits": 8, "weight_bits": b, "batches": 10, "per_channel": per_channel}
                yield _row("weights", net, seed, "max", _error(made, test), **setting)


def _fixed_rows(seed: int, digits: Digits, test: Digits, bits: tuple) -> Iterator[Row]:
    """Yield fixed point with a radix point for every layer (dynamic) and with one for all (static)."""
    model = load("lenet-5")
    for b in bits:
        for static in (False, True):
            made = dynamic_fixed_point(model, _batches(digits, 10), bits=b, static=static).model
            setting = {"bits": b, "weight_bits": b, "batches": 10, "per_channel": False}
            yield _row("fixed point", "lenet-5", seed, "static" if static else "dynamic", _error(made, test), **setting)


def _batch_norm_rows(seed: int, digits: Digits, test: Digits) -> Iterator[Row]:
    """Yield a small network whose histograms are combs: what the KL rule does without and with its guard."""
    model = small_batch_norm_net(digits[:4000], seed=seed)
    yield _row("batch norm", "small", seed, "float", _error(model, test))
    for b in (8, 4):
        for name in RULES:
            made = ptq(model, _batches(digits, 10), bits=b, weight_bits=8, **RULES[name])
            setting = {"bits": b, "weight_bits": 8, "batches": 10}
            yield _row("batch norm", "small", seed, name, _error(made, test), **setting)
