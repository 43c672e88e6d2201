"""Every argument of every public function of the kernels and the sparse formats meets values that fit nowhere.

The error must be ours and name the argument: nothing of NumPy, torch or Python may reach the reader instead.
"""

import dataclasses
import re

import numpy as np
import pytest
import scipy.sparse
import torch

from labkit import kernels, sparse
from labkit.kernels import bitwise, compiled, ladder, lut
from labkit.kernels.dispatch import forced

WRONG = {
    "a word": "abc",
    "nan": float("nan"),
    "a complex number": 1j,
    "a dict": {},
    "a set": {1},
    "a function": len,
    "objects": np.array([object(), None], object),
    "words": np.array(["a", "b"]),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "complex numbers": np.array([[1j, 2]]),
    "rows of two lengths": [[1, 2], [3]],
    "a sparse tensor": torch.eye(3).to_sparse(),
    "a tensor without numbers": torch.eye(3, device="meta"),
    "a scipy matrix": scipy.sparse.csr_array(np.eye(3)),
}
ODD = {  # what some arguments take
    "None": None,
    "True": True,
    "-1": -1,
    "2.5": 2.5,
    "inf": float("inf"),
    "a large integer": 10**30,
    "an empty list": [],
    "a number in an array": np.array(3.0),
    "no rows": np.ones((0, 3)),
    "a cube": np.ones((2, 2, 2)),
    "NaN": np.array([[np.nan, 1]]),
    "bools": np.array([[True, False]]),
    "half precision": np.ones((2, 3), np.float16),
    "steps in memory": np.ones((6, 6))[::2, ::-1],
    "the other byte order": np.ones((2, 2), ">f8"),
    "a tensor with gradient": torch.ones(2, 2, requires_grad=True),
    "a tuple": (1, 2, 3),
    "bytes": b"ab",
}
WORDS, EYE, IMAGES = kernels.pack_bits(np.ones((3, 100))), np.eye(3, dtype=np.float32), np.ones((1, 2, 4, 4))
PLANES, LENGTHS, CSR = kernels.pack_planes([[1, 2]], bits=2), [1, 2, 2], sparse.CSR.from_dense(EYE)
WINDOW = {"stride": 1, "padding": 0, "dilation": 1, "threads": 1}
CODE, LINEAR = sparse.codegen(EYE), torch.nn.Linear(4, 3)
TAKES_IT = {("from_scipy", "a scipy matrix"), ("from_torch", "a sparse tensor"), ("huffman_decode", "a word")}


def use_level(level):
    with forced(level):
        pass


def calls():
    """Yield the name, the function and good arguments of each call."""
    for function, arguments in [
        (kernels.pack_bits, {"x": EYE, "thresholds": [0.0, 1, 2], "threads": 1}),
        (kernels.unpack_bits, {"words": WORDS, "n": 100}),
        (kernels.xnor_matmul, {"a": WORDS, "b": WORDS, "n": 100, "out": np.empty((3, 3), np.int32), "threads": 1}),
        (kernels.pack_bits_nchw, {"x": IMAGES, "thresholds": [0.0, 1], "threads": 1}),
        (kernels.binary_conv2d, {"x": IMAGES, "weight": np.ones((3, 2, 3, 3)), "channels": 2} | WINDOW),
        (kernels.unpack_bits_nchw, {"words": kernels.pack_bits_nchw(IMAGES), "channels": 2}),
        (kernels.pack_planes, {"q": [[1, 2]], "bits": 2, "signed": False}),
        (kernels.unpack_planes, {"planes": PLANES, "n": 2, "signed": False}),
        (kernels.bitserial_matmul, {"a": PLANES, "b": PLANES, "n": 2, "signed": (False, True), "threads": 1}),
        (kernels.bitserial_dot, {"x": [1, 2], "y": [1, 2], "M": 2, "K": 2}),
        (kernels.xnor_dot, {"x": [1, -1], "y": [1, 1]}),
        (bitwise.bit_planes, {"x": [1, 2], "bits": 2}),
        (bitwise.popcount, {"words": WORDS}),
        (bitwise.tail_mask, {"n": 5}),
        (kernels.csr_matvec, {"A": CSR.A, "IA": CSR.IA, "JA": CSR.JA, "x": np.ones(3), "threads": 1}),
        (kernels.csr_matmul, {"A": CSR.A, "IA": CSR.IA, "JA": CSR.JA, "X": EYE, "threads": 1}),
        (kernels.huffman_lengths, {"counts": [3, 1, 2], "max_length": 4}),
        (kernels.huffman_codes, {"lengths": LENGTHS}),
        (kernels.huffman_encode, {"symbols": [0, 1, 2], "lengths": LENGTHS}),
        (kernels.huffman_decode, {"data": [88], "lengths": LENGTHS, "n": 3}),
        (kernels.LUT, {"k": 2, "truth_table": [0, 1, 1, 0]}),
        (kernels.synthesize, {"rows": [0, 1, 1, 0], "n_inputs": 2, "k": 2}),
        (kernels.synth_xnor_popcount, {"n": 3, "k": 3}),
        (lut.functions, {"k": 2}),
        (lut.cofactor, {"f": [0, 1, 1, 0], "chosen": [1], "bits": [1]}),
        (kernels.winograd_kernel, {"w": np.ones((1, 2, 3, 3)), "m": 2}),
        (kernels.winograd_conv2d, {"x": IMAGES, "w": np.ones((1, 2, 3, 3)), "m": 2, "padding": 0, "threads": 1}),
        (use_level, {"level": "numpy"}),
        (compiled.accepts, {"flags": ["-O3"]}),
        (ladder.step, {"name": "tile"}),
        (ladder.listing, {"operator": "&"}),
        (ladder.planes, {"numbers": [[1, 2]], "bits": 2, "word": 64}),
        (sparse.sparse_mask, {"shape": (4, 4), "density": 0.5, "pattern": "block", "block": 2, "random_state": 0}),
        (sparse.index_bits, {"mask": np.ones((1, 1, 3, 3), bool), "granularity": "fine", "bits": 4}),
        (sparse.expected_padding, {"density": 0.5, "bits": 4}),
        (sparse.storage_break_even, {"shape": (4, 4), "value_bits": 32, "index_bits": 32}),
        (sparse.codegen, {"B": EYE}),
        (CODE.run_python, {"A": EYE}),
        (sparse.SparseLinear, {"in_features": 3, "out_features": 4, "nnz": 2, "bias": True}),
        (sparse.SparseLinear.from_mask, {"mask": np.ones((3, 4), bool), "bias": True}),
        (sparse.SparseLinear.from_linear, {"layer": LINEAR, "mask": np.ones((3, 4), bool)}),
        (sparse.SparseLinear.from_linear, {"layer": LINEAR, "sparsity": 0.5}),
        (sparse.SparseLinear.from_linear(LINEAR, sparsity=0.5).forward, {"x": torch.ones(2, 4)}),
    ]:
        yield function.__qualname__, function, arguments
    for kind in sparse.FORMATS:
        options = {"block": (1, 1)} if kind is sparse.BCSR else {"bits": 4} if kind is sparse.RelativeIndex else {}
        made, name = kind.from_dense(EYE, **options), kind.__name__
        place = {"rows": [0], "columns": [1], "values": [1.0], "shape": (2, 3)}
        yield f"{name}.from_dense", kind.from_dense, {"matrix": EYE} | options
        yield f"{name}.from_coordinates", kind.from_coordinates, place | options
        yield f"{name}.from_scipy", kind.from_scipy, {"matrix": made.to_scipy()} | options
        yield f"{name}.from_torch", kind.from_torch, {"tensor": made.to_torch()} | options
        yield f"{name}.matvec", made.matvec, {"x": np.ones(3)}
        yield f"{name}.matmul", made.matmul, {"X": EYE}
        yield name, kind, {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}


CASES = [
    pytest.param(name, function, arguments, argument, id=f"{name}-{argument}")
    for name, function, arguments in calls()
    for argument in arguments
]


def check_refusal(caught, arguments):
    """The error is raised by the package and names an argument of the call."""
    assert any(re.search(rf"\b{argument}\b", str(caught.value)) for argument in arguments), caught.value
    assert "labkit" in str(caught.traceback[-1].path), caught.value


@pytest.mark.parametrize(("name", "function", "arguments", "argument"), CASES)
def test_what_fits_nowhere_is_refused_by_name(name, function, arguments, argument):
    function(**arguments)
    for label, value in WRONG.items():
        if (name.split(".")[-1], label) not in TAKES_IT:
            with pytest.raises((TypeError, ValueError)) as caught:
                function(**arguments | {argument: value})
            check_refusal(caught, [argument])


@pytest.mark.parametrize(("name", "function", "arguments", "argument"), CASES)
def test_what_fits_some_arguments_is_taken_or_refused_by_name(name, function, arguments, argument):
    for value in ODD.values():
        try:
            function(**arguments | {argument: value})
        except (TypeError, ValueError) as error:
            check_refusal(pytest.ExceptionInfo.from_exception(error), arguments)  # of two that differ, either one
