"""The low-bit methods of chapter 19 on one LeNet-5 and one budget: error, bytes and operations of each."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import paths
from labkit.cost import count
from labkit.datasets import Digits, mnist
from labkit.experiments.low_rank import means
from labkit.experiments.registry import experiment, header
from labkit.nets.binary_store import save_binary
from labkit.nets.low_bit_lenet import LowBitLeNet
from labkit.quantization import (
    ABCWeight,
    DistributionPenalty,
    LossAwareBinarizer,
    QuantizedActivation,
    ResidualSign,
    TernaryWeight,
    TrainedTernaryWeight,
    benn,
    bipolar_penalty,
    finalize,
    float_weight,
    quantize_weights,
)
from labkit.quantization.binary import SignActivation, binarize_model, clipped
from labkit.training import evaluate, fit

SPLIT = (
    "learning rate of each method chosen on 2,000 of the 55,000 digits of mnist('train') after training on 3,000 "
    "others; all methods then trained on the same 6,000 of the 55,000; error on the 5,000 digits of mnist('heldout') "
    "and the 10,000 of mnist('test'), seen by neither step; BENN takes the learning rate of BNN"
)
LAYERS = ("conv1", "conv2", "fc1", "fc2")
INNER = ("conv2", "fc1")
BATCH = 64
WITH_LAST = (*INNER, "fc2")
Row = dict[str, Any]
Settings = Callable[[nn.Module], Row]


def _plain(model: nn.Module) -> Row:
    return {}


def _clipped(model: nn.Module) -> Row:
    return {"optimizer": clipped(model)}


def _spread(model: Any) -> Row:
    return _clipped(model) | {"regularizer": DistributionPenalty(model, model.norms)}


def _bipolar(model: nn.Module) -> Row:
    return _clipped(model) | {"regularizer": bipolar_penalty(WITH_LAST)}


@dataclass(frozen=True)
class Method:
    """How a network is built and trained, and what its quantized `layers` cost.

    `weight_bits` are bits for a weight; `scales` numbers in each quantized layer; `terms` how many products of signs
    stand for one product, 0 if the activations are real and the weights only choose between adding and subtracting.
    """

    build: Callable[[int], nn.Module]
    weight_bits: int = 1
    terms: int = 0
    additions: int = 1
    scales: int = 0
    layers: tuple[str, ...] = INNER
    settings: Settings = _plain


def _weights(make: Callable[[torch.Tensor], nn.Module]) -> Callable[[int], nn.Module]:
    def build(seed: int) -> nn.Module:
        model = LowBitLeNet(random_state=seed)
        quantize_weights(model, INNER, make)
        return model

    return build


def _binary(activation: Callable[[], nn.Module], *, last_layer: str = "float", **options: Any) -> Callable:
    def build(seed: int) -> nn.Module:
        model = LowBitLeNet(activation=activation, random_state=seed, **options)
        return binarize_model(model, "binary-connect", last_layer=last_layer)

    return build


METHODS: dict[str, Method] = {
    "float": Method(lambda seed: LowBitLeNet(random_state=seed), 32, layers=()),
    "BWN": Method(lambda seed: binarize_model(LowBitLeNet(random_state=seed), "bwn"), scales=550, settings=_clipped),
    "LAB": Method(_weights(LossAwareBinarizer), scales=2),
    "TWN": Method(_weights(TernaryWeight), 2, scales=2),
    "TTQ": Method(_weights(TrainedTernaryWeight), 2, scales=4),
    "ABC-Net, 3 bases": Method(_weights(lambda w: ABCWeight(w, n_bases=3)), 3, additions=3, scales=6),
    "BNN": Method(_binary(SignActivation), terms=1, settings=_clipped),
    "QNN, 2-bit activations": Method(_binary(QuantizedActivation), terms=2, settings=_clipped),
    "residual, 2-bit activations": Method(_binary(ResidualSign), terms=2, settings=_clipped),
    "BNN-DL": Method(_binary(SignActivation), terms=1, settings=_spread),
    "BNN, binary last layer": Method(
        _binary(SignActivation, last_layer="binary"), terms=1, layers=WITH_LAST, settings=_clipped
    ),
    "BNN, binary last layer and scale": Method(
        _binary(SignActivation, last_layer="binary", last="scale"), terms=1, layers=WITH_LAST, settings=_clipped
    ),
    "Tang's recipe": Method(
        _binary(ResidualSign, last_layer="binary", last="scale", prelu=True),
        terms=2,
        layers=WITH_LAST,
        settings=_bipolar,
    ),
}
ENSEMBLES = {"BENN, bagging": "bagging", "BENN, boosting": "boosting"}


@experiment(
    "low-bit",
    split=SPLIT,
    minutes=10,
    tiny={"source": "offline", "seeds": (0,), "rates": (1e-3,), "n_trial": 100, "n_train": 200, "epochs": 1},
)
def low_bit(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1, 2),
    rates: tuple[float, ...] = (1e-4, 1e-3, 5e-3, 2e-2),
    n_trial: int = 3_000,
    n_train: int = 6_000,
    trial_epochs: int = 1,
    epochs: int = 4,
    n_members: int = 3,
) -> Row:
    """Fifteen low-bit methods on LeNet-5 with equal data and epochs; the ensembles go to `checkpoints/`."""
    part, validation = mnist("train", source=source).divide(5_000 if source == "download" else 500, random_state=0)
    kept = Kept("low-bit" if source == "download" else None)
    trials, chosen = _choose(kept, rates, part[:n_trial], validation[:2_000], trial_epochs)
    part = part[:n_train]
    rows = [kept(_single, name, chosen[name], part, epochs, seed, source) for name in METHODS for seed in seeds]
    rows += [
        kept(_ensemble, name, chosen["BNN"], part, epochs, seed, n_members, source, str(output))
        for name in ENSEMBLES
        for seed in seeds
    ]
    summary = {"validation_error": trials, "learning_rate": chosen, "mean_test_error": means(rows, ("method",))}
    return {"rows": rows, "summary": summary}


def _choose(
    kept: "Kept", rates: tuple[float, ...], part: Digits, validation: Digits, epochs: int
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Return the validation error of every method and rate, and each method's best rate."""
    trials = {name: {str(r): kept(_trial, name, r, part, validation, epochs) for r in rates} for name in METHODS}
    return trials, {name: float(min(tried, key=lambda key: tried[key])) for name, tried in trials.items()}


class Kept:
    """Calls functions and keeps their results in the cache, so that an interrupted run goes on where it stopped."""

    def __init__(self, folder: str | None) -> None:
        self.folder = folder and paths.CACHE / "experiments" / folder

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if not self.folder:
            return function(*arguments)
        plain = (len(a) if isinstance(a, Digits) else a for a in arguments)
        words = re.sub(r"[^\w.-]", "_", "-".join(map(str, (function.__name__, *plain))))
        path = Path(self.folder) / f"{words}.json"
        if not path.exists():
            made = json.dumps(function(*arguments))
            with paths.replacing(path) as temporary:
                temporary.write_text(made, encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))


def cost(method: Method, n_members: int = 1) -> Row:
    """Return the numbers, bytes and operations of a network with a method's quantized layers.

    Bytes are computed, not measured: the bits of the quantized weights rounded up to bytes in each layer, and four
    bytes for every other number, batch norms with their running means included.

    >>> cost(METHODS["float"])["n_bytes"] // cost(METHODS["BNN"])["n_bytes"]
    20
    """
    model = finalize(method.build(0))
    macs = {row.name: row.macs for row in count(LowBitLeNet(), torch.zeros(1, 1, 28, 28)).rows}
    sizes = {name: float_weight(model.get_submodule(name)).numel() for name in method.layers}
    inner, every = (sum(macs[name] for name in names) for names in (method.layers, LAYERS))
    numbers = sum(t.numel() for t in model.state_dict().values() if t.is_floating_point())
    n_bytes = sum(-(-size * method.weight_bits // 8) for size in sizes.values())
    n_bytes += 4 * (numbers - sum(sizes.values()) + method.scales)
    made = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "n_bytes": n_bytes,
        "multiply_adds": every - inner,
        "additions": 0 if method.terms else inner * method.additions,
        "bit_operations": inner * method.terms,
    }
    return {key: value * n_members for key, value in made.items()}


def _trial(name: str, rate: float, part: Digits, validation: Digits, epochs: int) -> float:
    return evaluate(_trained(METHODS[name], part.tensors(), rate, epochs, 0), validation).error


def _single(name: str, rate: float, part: Digits, epochs: int, seed: int, source: str) -> Row:
    start = time.process_time()
    model = _trained(METHODS[name], part.tensors(), rate, epochs, seed)
    seconds = time.process_time() - start
    row = errors(model, source)
    row |= {"mean_member_error": row["test_error"], "train_s": round(seconds, 1)}
    return {"method": name, "seed": seed, **row} | cost(METHODS[name])


def _ensemble(
    name: str, rate: float, part: Digits, epochs: int, seed: int, n_members: int, source: str, output: str
) -> Row:
    def train(x: torch.Tensor, y: torch.Tensor, k: int) -> nn.Module:
        return _trained(METHODS["BNN"], (x, y), rate, epochs, 100 * seed + k)

    start = time.process_time()
    voters = benn(train, *part.tensors(), n_members=n_members, mode=ENSEMBLES[name], random_state=seed)
    seconds = time.process_time() - start
    test = mnist("test", source=source)
    single = float(np.mean([evaluate(member, test).error for member in voters.members]))
    row = {"method": name, "seed": seed, **errors(voters, source)}
    row |= {"mean_member_error": round(single, 4), "train_s": round(seconds, 1)}
    if not seed:
        made = header("low-bit", row | {"learning_rate": rate, "epochs": epochs, "n_train": len(part)})
        save_binary(voters, Path(output) / "checkpoints" / f"benn-{ENSEMBLES[name]}.safetensors", header=made)
    return row | cost(METHODS["BNN"], n_members)


def errors(model: nn.Module, source: str, transform: Callable[[Digits], Any] | None = None) -> Row:
    """Return the error in percent on the held-out and the test digits, passed through `transform` first.

    >>> sorted(errors(LowBitLeNet(random_state=0), "offline"))
    ['heldout_error', 'test_error']
    """
    sets = {f"{name}_error": mnist(name, source=source) for name in ("heldout", "test")}
    return {k: round(evaluate(model, d if transform is None else transform(d)).error, 4) for k, d in sets.items()}


def _trained(method: Method, data: Any, rate: float, epochs: int, seed: int) -> nn.Module:
    model = method.build(seed)
    settings = method.settings(model)
    fit(model, data, epochs=epochs, batch_size=BATCH, learning_rate=rate, random_state=seed, progress=False, **settings)
    penalty = settings.get("regularizer")
    if isinstance(penalty, DistributionPenalty):
        penalty.remove()
    return model
