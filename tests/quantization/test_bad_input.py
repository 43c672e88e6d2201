"""Every public function and class of labkit.quantization refuses bad values, in words that name the argument."""

import inspect
import re
from dataclasses import is_dataclass

import numpy as np
import pytest
import torch
from torch import nn

from labkit import quantization
from labkit.quantization import BinaryLinear, Levels, TernaryWeight, collect, max_calibrate, pack, ptq

x, tensor = np.linspace(-1, 1, 50).reshape(5, 10), torch.linspace(-1, 1, 50).reshape(5, 10)
hist = collect(np.random.default_rng(0).laplace(size=5000))
net = nn.Sequential(nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 4))
binary = nn.Sequential(BinaryLinear(10, 6), nn.BatchNorm1d(6), BinaryLinear(6, 4)).eval()
states, sums = torch.tensor([-1.0, 0.0, 1.0, 0.0]), torch.tensor([[100, -3]], dtype=torch.int32)
int8, classes = torch.ones(3, 3, dtype=torch.int8), torch.tensor([0, 1, 2, 3, 0])
drawn = {"random_state": 0}
linear = {"in_features": 4, "out_features": 3, "bias": False, "stochastic": False, "act_scale": False}
sides = {"kernel_size": 3, "stride": 1, "padding": 0, "dilation": 1}
conv = {"in_channels": 2, "out_channels": 3} | sides | {"groups": 1, "bias": False, "stochastic": False}
integers = {"bias": True, "weight_bits": 8, "input_bits": 8, "input_signed": True}
quantizer = {"bits": 4, "weight_bits": 4, "rule": "mse", "per_channel": True, "scheme": "affine", "names": ["0"]}
scheme = {"weight_bits": 8, "per_channel": True, "weight_scale": 0.1, "next_scale": 0.1}
grid = {"x": x, "bits": 8, "axis": 0} | drawn
rounded = {"signed": True, "rounding": "stochastic"}

VALID = {  # arguments that are fine; one of them is replaced at a time
    "ABCWeight": {"weight": tensor, "n_bases": 3},
    "BWNConv2d": conv,
    "BWNLinear": linear,
    "BinaryConnectConv2d": conv,
    "BinaryConnectLinear": linear,
    "BinaryConv2d": conv,
    "BinaryLinear": linear,
    "DiscreteAdam": {"params": [nn.Parameter(states)], "discrete": [states], "n": 1, "m": 3.0},
    "DistributionPenalty": {"model": net, "modules": ["0"], "weight": 1.0},
    "Ensemble": {"members": [net, net], "votes": [1.0, 2.0], "soft": True},
    "Histogram": {"counts": np.array([1, 2]), "width": 1.0, "zeros": 0, "low": 0.0, "high": 1.0},
    "HistogramCollector": {"n_bins": 64},
    "INQ": {"model": net, "layers": ["0"], "bits": 5, "portions": (0.5, 1.0), "strategy": "random"} | drawn,
    "IntegerReLU": {"zero_point": 3},
    "IntegerScheme": {"input_levels": Levels(0.1)} | scheme,
    "Levels": {"scale": 0.1, "zero_point": 3, "bits": 8, "signed": True},
    "LossAwareBinarizer": {"weight": tensor, "beta2": 0.9, "eps": 1e-8},
    "PowerOfTwoWeight": {"weight": tensor, "bits": 5},
    "QConv2d": {"in_channels": 1, "out_channels": 2} | sides | integers,
    "QLinear": {"in_features": 3, "out_features": 2} | integers,
    "Quantized": {
        "integers": np.int8([1, 2]),
        "scale": np.ones(1),
        "zero_point": np.zeros(1),
        "bits": 8,
        "signed": True,
    },
    "QuantizedActivation": {"bits": 2},
    "ResidualSign": {"bits": 2},
    "ScaleLayer": {"start": 0.1},
    "TernaryActivation": {"r": 0.5, "a": 0.5},
    "TernaryWeight": {"weight": tensor},
    "TrainedTernaryWeight": {"weight": tensor, "t": 0.05},
    "XNORConv2d": conv | {"act_scale": True},
    "XNORLinear": linear | {"act_scale": True},
    "abc_bases": {"W": x, "n_bases": 3},
    "abc_fit": {"W": x, "n_bases": 3},
    "abc_shifts": {"n_bases": 3},
    "activation_levels": {"bits": 2},
    "affine": grid | rounded | {"low": -1.0, "high": 1.0},
    "benn": {"train": lambda x, y, k: net, "x": tensor, "y": classes, "n_members": 1, "mode": "bagging"} | drawn,
    "binarize": {"x": tensor, "window": 1.0},
    "binarize_model": {"model": net, "method": "bnn", "skip_first_last": False, "last_layer": "binary"},
    "binarize_stochastic": {"x": tensor, "window": 1.0} | drawn,
    "binary_layers": {"model": binary},
    "bipolar_penalty": {"layers": ["0"], "weight": 1.0},
    "boosting_step": {"weights": np.full(4, 0.25), "labels": [0, 1, 0, 1], "predictions": [0, 1, 0, 0], "n_classes": 2},
    "bootstrap": {"n": 2, "weights": np.full(2, 0.5)} | drawn,
    "calibrate": {"hist": hist, "rule": "kl", "bits": 4, "signed": True},
    "clip_weights": {"model": binary},
    "clipped": {"model": binary, "optimizer": torch.optim.Adam},
    "collect_inputs": {"model": net, "batches": tensor, "names": ["0"]},
    "discrete_states": {"n": 1},
    "distribution_loss": {"x": tensor},
    "dynamic_fixed_point": {"model": net, "data": tensor, "bits": 8, "weight_bits": 8, "static": False},
    "fake_quantized": {"model": net},
    "finalize": {"model": net},
    "fixed_point": {"x": x, "bits": 8, "fraction": 4, "signed": True},
    "float_weight": {"layer": net[0]},
    "fold_requantize": {"model": ptq(net, tensor, rule="max")},
    "fold_thresholds": {"tail": binary[1], "layer": binary[0]},
    "gated_share": {"weight": x, "activation": x},
    "inq_partition": {"W": x, "frozen": x > 2, "portion": 0.5, "strategy": "random"} | drawn,
    "int_matmul": {"a": int8, "b": int8},
    "integer_range": {"bits": 8, "signed": True, "narrow": True},
    "kl_calibrate": {"hist": hist, "levels": 128, "zero_bin": "copy", "start": 200, "guard": True},
    "kl_curve": {"h": hist.counts, "n": np.array([200, 300]), "levels": 128},
    "kl_loop": {"counts": np.array([4, 4, 2, 2, 0]), "levels": 2},
    "kl_mirrored_loop": {"counts": np.array([4, 4, 2, 2, 0]), "levels": 2},
    "levels_of": {"hist": hist, "calibration": max_calibrate(hist), "bits": 8, "scheme": "affine"},
    "links": {"model": net, "names": ["0", "2"]},
    "loss_aware_scale": {"W": x, "curvature": x + 2},
    "max_calibrate": {"hist": hist},
    "mse_calibrate": {"hist": hist, "levels": 128},
    "multiplier_and_shift": {"ratio": 0.1},
    "n_patterns": {"height": 3, "width": 3, "modulo_sign": True},
    "optimal_threshold": {"W": x},
    "pack": {"model": binary},
    "pack_codes": {"codes": np.array([1, 0, -1])},
    "pack_integers": {"q": int8, "bits": 2},
    "percentile_calibrate": {"hist": hist, "percentile": 99.0},
    "positive_levels": {"bits": 8, "signed": True},
    "power_codes": {"W": np.array([1.0, 0.0, -0.25]), "bits": 4, "exponent": 0},
    "power_levels": {"largest": 1.0, "bits": 5},
    "power_values": {"codes": np.array([8, 0, 14]), "bits": 4, "exponent": 0},
    "proximal_newton_step": {"current": x, "gradient": x, "curvature": x + 2},
    "ptq": {"model": net, "data": tensor} | quantizer,
    "ptq_plan": {"model": net, "data": tensor} | quantizer,
    "quantize_activation": {"x": x, "bits": 2},
    "quantize_to": {"x": tensor, "levels": Levels(0.1)},
    "quantize_weights": {"model": net, "layers": ["0"], "make": TernaryWeight},
    "radix_point": {"x": x, "bits": 8, "signed": True},
    "radix_sqnr": {"hist": hist, "bits": 8, "fraction": 3, "signed": True},
    "requantize": {"total": sums, "multiplier": torch.ones(2).long(), "shift": classes[1:3], "to": Levels(0.1)},
    "residual_binarize": {"A": x, "bits": 2},
    "round_through": {"x": tensor, "low": -1.0, "high": 1.0},
    "row_scaled": {"w": x},
    "saturate": {"x": x, "threshold": 0.5},
    "save_packed": {"network": pack(binary), "path": "net.safetensors", "header": {"a": 1}},
    "load_packed": {"path": "net.safetensors"},
    "sign": {"x": tensor},
    "spikiness": {"hist": hist, "window": 4},
    "sqnr": {"x": x, "approximation": x},
    "start_discrete": {"model": net, "layers": ["0"], "n": 1} | drawn,
    "start_uniform": {"model": binary} | drawn,
    "state_transition": {"weight": states, "change": states, "n": 1, "m": 3.0} | drawn,
    "stochastic": grid,
    "straight_through": {"x": tensor, "q": tensor, "low": -1.0, "high": 1.0},
    "symmetric": grid | rounded | {"threshold": 1.0},
    "ternarize": {"x": tensor, "delta": 0.5, "window": 1.0},
    "ternary_errors": {"W": x, "thresholds": x[0] + 1},
    "to_powers": {"W": x, "bits": 5, "largest": 1.0},
    "transition_probability": {"remainder": x, "n": 1, "m": 3.0},
    "ttq_gradients": {"gradient": x, "W": x, "Wp": 1.0, "Wn": 1.0, "t": 0.05},
    "twn": {"W": x, "threshold": 0.1},
    "twn_threshold": {"W": x},
    "uniform": grid | {"rounding": "stochastic"},
    "unique_filters": {"conv": np.ones((2, 2, 3, 3)), "modulo_sign": True},
    "unpack_codes": {"packed": np.array([70, 2], np.uint8), "shape": (5,)},
    "unpack_integers": {"packed": torch.tensor([45], dtype=torch.uint8), "bits": 2, "shape": (4,)},
    "with_levels": {"model": net, "levels": {"0": Levels(0.1)}, "per_channel": True, "weight_scales": {"0": 0.1}},
    "xnor_counterexample": {"y": np.array([-4.0, 1.0])},
}
RESULTS = {  # what functions return, not what a reader makes
    *("BinarySum", "BoostingStep", "Calibration", "DistributionTerms", "FilterCount", "FixedPoint", "RadixPoint"),
    *("ScaledSigns", "SumOfSigns", "Ternary"),
}
NOTHING_TO_CHECK = {"CalibrationWarning", "Link", "PackedNetwork", "QLayer", "RULES", "SignActivation", "collect"}

ANY = {"an object": object(), "complex": np.array([1 + 2j]), "text": "abc"}  # bad for every argument
BY_KIND = {
    bool: {"an int": 1, "None": None, "an array": np.ones(2), "a tensor": torch.ones(2)},
    int: {"a bool": True, "a fraction": 2.5, "NaN": np.nan, "far below": -(10**12), "an array": np.ones(2)},
    float: {"a bool": True, "NaN": np.nan, "an empty list": [], "an array": np.ones((2, 2))},
    str: {"a number": 3, "None": None, "an array": np.ones(2)},
    np.ndarray: {
        "None": None,
        "NaN": np.array([1.0, np.nan]),
        "empty": [],
        "text in it": ["a"],
        "ragged": [[1], [1, 2]],
    },
    torch.Tensor: {"None": None, "NaN": torch.tensor([1.0, torch.nan]), "empty": [], "a number": 3.0},
    nn.Module: {"None": None, "a number": 3, "a list": []},
    list: {"a number": 3, "text": "abc", "empty": [], "no dimensions": np.array(1.0)},
}
MISSING_FILE = ("load_packed", "path", "text")  # a FileNotFoundError, tested with the packing
TORCHS_OWN = ("DiscreteAdam", "params")  # torch.optim.Adam says what is wrong with them


def bad_values(name, argument, good):
    """Return the values that this argument refuses by label; None stands for the default where that is allowed."""
    default = inspect.signature(getattr(quantization, name)).parameters[argument].default
    kind = next((bad for kind, bad in BY_KIND.items() if isinstance(good, kind)), {})
    return {
        label: value
        for label, value in (ANY | kind).items()
        if (name, argument, label) != MISSING_FILE and not (value is None and default is None)
    }


CASES = [
    pytest.param(name, argument, bad_values(name, argument, good), id=f"{name}-{argument}")
    for name, given in VALID.items()
    for argument, good in given.items()
    if (name, argument) != TORCHS_OWN
]


def test_no_public_name_is_forgotten():
    assert set(quantization.__all__) == set(VALID) | RESULTS | NOTHING_TO_CHECK
    assert all(is_dataclass(getattr(quantization, name)) for name in RESULTS)


@pytest.mark.parametrize("name", VALID)
def test_the_arguments_of_the_table_are_those_of_the_function(name):
    known = inspect.signature(getattr(quantization, name)).parameters
    assert set(VALID[name]) <= set(known)


@pytest.mark.parametrize(("name", "argument", "bad"), CASES)
def test_bad_values_are_refused_by_name(name, argument, bad):
    for label, value in bad.items():
        with pytest.raises((TypeError, ValueError)) as caught:
            getattr(quantization, name)(**VALID[name] | {argument: value})
        assert re.search(rf"\b{argument}\b", str(caught.value)), label
