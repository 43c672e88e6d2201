"""Train the binary LeNets of chapter 19, ship them, and compare every setting of the XNOR lab."""

import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit import paths
from labkit.cost import file_bytes, time_ratio
from labkit.datasets import Digits, mnist
from labkit.experiments.low_rank import means
from labkit.experiments.registry import Record, experiment, header
from labkit.nets import BinaryLeNet, LeNet, save
from labkit.nets.binary_store import load_binary, save_binary
from labkit.nets.store import read
from labkit.quantization.binary import SignActivation, binarize_model, binary_layers, clipped, start_uniform
from labkit.quantization.packed_layers import PackedConv2d, PackedLinear
from labkit.quantization.packing import load_packed, pack, save_packed
from labkit.training import evaluate, fit

SPLIT = (
    "learning rate chosen on 5,000 of the 55,000 digits of mnist('train') after training on others of them; the "
    "networks that are reported and shipped are then trained on all 55,000; error on the 5,000 digits of "
    "mnist('heldout') and the 10,000 of mnist('test'), seen by neither step"
)
RATE = 1e-2  # chosen by binary-lenet
WORDS = ("weights", "inputs", "scale", "last")
METHODS: dict[str, Callable[[int], nn.Module]] = {
    "bnn": lambda seed: BinaryLeNet("bnn", random_state=seed),
    "xnor": lambda seed: BinaryLeNet("xnor", random_state=seed),
    "bwn": lambda seed: binarize_model(LeNet(random_state=seed), "bwn"),
    "float": lambda seed: LeNet(random_state=seed),
}
Row = dict[str, Any]


@experiment(
    "binary-lenet",
    split=SPLIT,
    minutes=30,
    tiny={
        "source": "offline",
        "methods": ("bnn", "float"),
        "rates": (3e-3,),
        "trial_epochs": 1,
        "n_trial": 200,
        "epochs": 1,
        "n_train": 500,
    },
    times=lambda made: _shipped_times(made),
)
def binary_lenet(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0,),
    methods: tuple[str, ...] = ("bnn", "xnor", "bwn", "float"),
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2),
    trial_epochs: int = 3,
    n_trial: int = 20_000,
    epochs: int = 10,
    n_train: int | None = None,
) -> dict[str, Any]:
    """BMXNet's LeNet as BNN, XNOR-Net, Binary-Weight-Network and in float; the binary ones go to `checkpoints/`."""
    digits = mnist("train", source=source)[:n_train]
    part, validation = digits.divide(len(digits) // 11, random_state=0)
    data = {"heldout": mnist("heldout", source=source), "test": mnist("test", source=source)}
    rows: list[Row] = []
    summary: Row = {"chosen": {}, "shipped": {}}
    for method in methods:
        chosen = summary["chosen"][method] = _chosen(method, part[:n_trial], validation, rates, trial_epochs)
        made = {"method": method, "rate": chosen["rate"], "epochs": epochs, "n_train": len(digits)}
        models = {seed: trained(method, digits, chosen["rate"], epochs, seed) for seed in seeds}
        rows += [made | {"seed": seed, "train_s": t} | _errors(model, data) for seed, (model, t) in models.items()]
        if method != "float":
            summary["shipped"][method] = _ship(models[seeds[0]][0], output, rows[-len(seeds)], data)
    return {"rows": rows, "summary": summary}


def _chosen(method: str, digits: Digits, validation: Digits, rates: tuple[float, ...], epochs: int) -> Row:
    """Return the learning rate with the least validation error, and the error of each."""
    errors = {rate: _trial(method, digits, validation, rate, epochs) for rate in rates}
    best = min(errors, key=lambda rate: errors[rate])
    return {"rate": best, "validation_error": {f"{rate:g}": error for rate, error in errors.items()}}


def _errors(model: nn.Module, data: dict[str, Digits]) -> Row:
    return {f"{name}_error": round(evaluate(model, digits).error, 4) for name, digits in data.items()}


def _ship(model: nn.Module, output: Path, made: Row, data: dict[str, Digits]) -> Row:
    """Save a binary network and its packed form, load them, and compare: predictions, bytes and time."""
    name, folder = f"lenet-{made['method']}", output / "checkpoints"
    settings = {"batch_size": 128, "optimizer": "Adam, weights clipped to [-1, 1]"}
    save_binary(model, folder / f"{name}.safetensors", header=header("binary-lenet", made | settings))
    packed = pack(model)
    with tempfile.TemporaryDirectory() as other:
        save_packed(packed, Path(other) / "packed.safetensors")
        packed_bytes = (Path(other) / "packed.safetensors").stat().st_size
        packed = load_packed(Path(other) / "packed.safetensors")[0]
    differ = {f"{key}_predictions_that_differ": _differences(model, packed, digits) for key, digits in data.items()}
    times = _times(_dense(model), packed, data["test"][:100].tensors()[0], binary_inputs=made["method"] != "bwn")
    return {"packed_bytes": packed_bytes, "float_bytes": file_bytes(model)} | differ | times


def _times(dense: nn.Module, packed: nn.Module, x: torch.Tensor, *, binary_inputs: bool) -> Row:
    """Return how many times faster the packed network is: for one digit, for 100, and where its inputs are signs."""
    ratios = {n: time_ratio(partial(dense, x[:n]), partial(packed, x[:n])) for n in (1, 100)}
    inner = {"inner_100": _inner_ratio(dense, packed, x)} if binary_inputs else {}
    return {f"time_ratio_{name}": round(ratio, 3) for name, ratio in (ratios | inner).items()}


def _shipped_times(made: Record) -> Iterator[tuple[str, Row]]:
    """Yield the time ratios of the networks that were shipped."""
    x = mnist("test", source="offline")[:100].tensors()[0]
    for method in made.summary["shipped"]:
        model = load_binary(f"lenet-{method}")
        yield method, _times(_dense(model), pack(model), x, binary_inputs=method != "bwn")


def _inner_ratio(dense: Any, packed: Any, x: torch.Tensor) -> float:
    """Return the time of all from the signs before conv2 to fc1 in float32 over the time of its packed form."""
    layers, words = list(dense), list(packed)
    first, last = (next(i for i, m in enumerate(words) if isinstance(m, k)) for k in (PackedConv2d, PackedLinear))
    with torch.no_grad():
        h = nn.Sequential(*layers[:4])(x)  # what conv1 and its batch norm make
        return time_ratio(partial(nn.Sequential(*layers[4:11]), h), partial(nn.Sequential(*words[first : last + 1]), h))


def _dense(model: nn.Module) -> nn.Module:
    """Return the same network with float layers in place of binary ones, signs taken before: the honest baseline."""
    dense = copy.deepcopy(model)
    for name, layer in binary_layers(dense).items():
        setattr(dense, name, layer.to_dense())
    return dense.eval().requires_grad_(False)


def _differences(model: nn.Module, packed: nn.Module, digits: Digits) -> int:
    """Return on how many digits the two networks predict different classes."""
    with torch.no_grad():
        pairs = [(model(x).argmax(1), packed(x).argmax(1)) for x in digits.tensors()[0].split(1000)]
    return sum(int((a != b).sum()) for a, b in pairs)


def _trial(method: str, digits: Digits, validation: Digits, rate: float, epochs: int) -> float:
    return round(evaluate(trained(method, digits, rate, epochs, 0)[0], validation).error, 4)


def trained(method: str, digits: Digits, rate: float, epochs: int, seed: int) -> tuple[nn.Module, float]:
    """Return a trained network and the seconds that it took.

    A network once trained on many digits is kept in the cache, so that an interrupted run goes on where it stopped.
    """
    model = METHODS[method](seed)
    made = {"method": method, "rate": rate, "epochs": epochs, "n": len(digits), "seed": seed, "source": digits.source}
    path = paths.CACHE / "experiments" / f"{method}-{len(digits)}-{epochs}-{rate:g}-{seed}.safetensors"
    keep = len(digits) >= 5000
    if keep and path.exists() and read(path)[1]["made"] == made:
        state, header = read(path)
        model.load_state_dict(state)
        return model.eval(), header["seconds"]
    start = time.perf_counter()
    settings: Row = {"optimizer": clipped(model)} if binary_layers(model) else {}
    fit(model, digits, epochs=epochs, learning_rate=rate, random_state=seed, **settings)
    seconds = round(time.perf_counter() - start, 1)
    if keep:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(model, path, header={"made": made, "seconds": seconds})
    return model, seconds


def lab_variants() -> dict[str, Row]:
    """Return the networks that the XNOR lab compares: name -> what is binary and how.

    >>> len(lab_variants())
    12
    """
    variants: dict[str, Row] = {}
    for weights, inputs, scale, last in product((False, True), repeat=4):
        if weights or not (scale or last):
            name = "-".join(word for word, on in zip(WORDS, (weights, inputs, scale, last), strict=True) if on)
            variants[name or "real"] = {"weights": weights, "inputs": inputs, "scale": scale, "last": last}
    extra = {"K": {"act_scale": True}, "stochastic": {"stochastic": True}}
    base = {"K": variants["weights-inputs-scale"], "stochastic": variants["weights"]}
    return variants | {name: base[name] | options for name, options in extra.items()}


def _lab(name: str, seed: int) -> nn.Module:
    return lab_network(seed=seed, **lab_variants()[name])


def lab_network(*, weights: bool, inputs: bool, scale: bool, last: bool, seed: int, **options: bool) -> nn.Module:
    """Return the LeNet of Listing 1 with binary inner layers as the switches of the XNOR lab say."""
    model: Any = LeNet(random_state=seed)
    if weights:
        method = {(False, False): "binary-connect", (False, True): "bwn", (True, False): "bnn", (True, True): "xnor"}
        model = binarize_model(model, method[inputs, scale], last_layer="binary" if last else "float", **options)
        if options.get("stochastic"):
            start_uniform(model, random_state=seed)
        return model
    if inputs:
        model.conv2 = nn.Sequential(SignActivation(), model.conv2)
        model.fc1 = nn.Sequential(SignActivation(), model.fc1)
    return model


METHODS |= {f"lab-{name}": partial(_lab, name) for name in lab_variants()}


@experiment(
    "xnor-lab",
    split="trained on the first 10,000 digits of mnist('train') with the learning rate that binary-lenet chose for its "
    "binary networks; error on the 10,000 of mnist('test')",
    minutes=8,
    tiny={"source": "offline", "seeds": (0,), "epochs": 1, "n_train": 100},
)
def xnor_lab(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1),
    rate: float = RATE,
    epochs: int = 3,
    n_train: int = 10_000,
) -> dict[str, Any]:
    """Every setting of the XNOR lab: real or binary weights, inputs and last layer, with and without scales."""
    digits, test = mnist("train", source=source)[:n_train], mnist("test", source=source)
    rows: list[Row] = []
    for name, switches in lab_variants().items():
        for seed in seeds:
            model, _ = trained(f"lab-{name}", digits, rate, epochs, seed)
            shown = {"act_scale": False, "stochastic": False} | switches
            rows.append({"variant": name, "seed": seed} | shown | {"test_error": round(evaluate(model, test).error, 4)})
    return {"rows": rows, "summary": {"mean_test_error": means(rows, ("variant",))}}
