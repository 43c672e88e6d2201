"""What one operation of torch costs, for all that a `forward` does outside of the modules that have a rule.

An operator is looked up by its name in ATen, the layer of torch where `x @ w`, `torch.matmul`, `F.linear` and
`einsum` have all become `mm`, `addmm` or `bmm`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from labkit.cost.rules import Work

NOTHING = Work()


def work(function: Any, args: Sequence[Any], output: Any) -> Work | None:
    """Return what one call of an ATen operator takes; None if that is not known.

    Copies, look-ups, comparisons and functions of single elements take no multiply-add.

    >>> a = torch.ones(2, 3)
    >>> work(torch.ops.aten.mm.default, (a, a.T), a @ a.T)
    Work(macs=12, biases=0, elementwise=0)
    >>> work(torch.ops.aten.linalg_inv_ex.default, (torch.eye(2),), torch.eye(2)) is None
    True
    """
    namespace, name = function._schema.name.split("::")
    name = name.removesuffix("_") if not name.startswith("__") else name  # the form that works in place
    if name in ("mul", "multiply"):
        return _product(args, output)
    if torch.Tag.pointwise in function.tags or function.is_view or name in FREE:
        return NOTHING
    if namespace != "aten" or name not in OPERATORS or any(_is_complex(a) for a in args):
        return None
    return OPERATORS[name](args, output[0] if isinstance(output, tuple | list) else output)


def _product(args: Sequence[Any], output: torch.Tensor) -> Work:
    """Scaling is free, as any function of single elements; an outer product, larger than both factors, is not."""
    tensors = [a for a in args if isinstance(a, torch.Tensor)]
    return Work(macs=output.numel()) if all(output.numel() > t.numel() for t in tensors) else NOTHING


def _matmul(a: torch.Tensor, b: torch.Tensor, y: torch.Tensor, *, bias: bool = False) -> Work:
    """Each output is a dot product over the last axis of a; a sparse factor takes part with its entries only."""
    biases = y.numel() if bias else 0
    if a.layout != torch.strided:
        return Work(a._nnz() * b.shape[-1] if b.dim() > 1 else a._nnz(), biases)
    if b.layout != torch.strided:
        return Work(b._nnz() * a.shape[0], biases)
    return Work(y.numel() * a.shape[-1], biases)


def _convolution(args: Sequence[Any], y: torch.Tensor) -> Work:
    """Weights are (c_out, c_in / groups, ...), or (c_in, c_out / groups, ...) when transposed (args[6])."""
    x, weight, bias = args[:3]
    sites = x.numel() if args[6] else y.numel()
    return Work(sites * math.prod(weight.shape[1:]), y.numel() if bias is not None else 0)


def _attention(args: Sequence[Any], y: torch.Tensor) -> Work:
    """Scores Q K^T, then their product with V: (.., l, e), (.., s, e) and (.., s, v)."""
    query, key, value = args[:3]
    pairs = math.prod(query.shape[:-1]) * key.shape[-2]
    return Work(pairs * (query.shape[-1] + value.shape[-1]))


def _per_input(args: Sequence[Any], y: torch.Tensor) -> Work:
    return Work(elementwise=args[0].numel())


def _per_output(args: Sequence[Any], y: torch.Tensor) -> Work:
    return Work(elementwise=y.numel())


def _window(args: Sequence[Any], y: torch.Tensor) -> Work:
    """Each output of an average pooling adds up a window of sides args[1]; one side stands for all."""
    sides, dimensions = list(args[1]), args[0].dim() - 2
    return Work(elementwise=y.numel() * (sides[0] ** dimensions if len(sides) == 1 else math.prod(sides)))


def _interpolation(neighbours: int) -> Callable[[Sequence[Any], torch.Tensor], Work]:
    return lambda args, y: Work(elementwise=neighbours * y.numel())


OPERATORS: dict[str, Callable[[Sequence[Any], torch.Tensor], Work]] = {
    **{name: lambda args, y: _matmul(args[0], args[1], y) for name in ("mm", "bmm", "mv", "dot", "_int_mm", "matmul")},
    **{name: lambda args, y: _matmul(args[1], args[2], y, bias=True) for name in ("addmm", "baddbmm", "addmv")},
    "linear": lambda args, y: Work(y.numel() * args[0].shape[-1], y.numel() if len(args) > 2 else 0),
    "convolution": _convolution,
    "_convolution": _convolution,
    **{
        f"_scaled_dot_product_{kind}": _attention
        for kind in (
            "flash_attention_for_cpu",
            "flash_attention",
            "efficient_attention",
            "cudnn_attention",
            "attention_math",
        )
    },
    "native_batch_norm": lambda args, y: Work(macs=y.numel()),
    "_native_batch_norm_legit_no_training": lambda args, y: Work(macs=y.numel()),
    **{name: _per_output for name in ("native_layer_norm", "native_group_norm", "_fused_rms_norm", "rms_norm")},
    **{
        name: _per_input
        for name in (
            *("sum", "mean", "cumsum", "prod", "cumprod", "var", "std", "var_mean", "std_mean", "logsumexp", "norm"),
            *("linalg_vector_norm", "adaptive_avg_pool1d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "trace"),
            *("index_add", "scatter_add", "col2im"),
        )
    },
    **{name: _window for name in ("avg_pool1d", "avg_pool2d", "avg_pool3d")},
    "upsample_linear1d": _interpolation(2),
    "upsample_bilinear2d": _interpolation(4),
    "upsample_trilinear3d": _interpolation(8),
    "upsample_bicubic2d": _interpolation(16),
    "_embedding_bag": lambda args, y: Work(elementwise=args[1].numel() * args[0].shape[1]),
    "_embedding_bag_forward_only": lambda args, y: Work(elementwise=args[1].numel() * args[0].shape[1]),
}

_FREE = """
    _assert_async _assert_scalar _assert_tensor_metadata _conj_physical _cummax_helper
    _cummin_helper _local_scalar_dense _log_softmax _pack_padded_sequence
    _pad_packed_sequence _resize_output _safe_softmax _softmax _to_copy _to_cpu _to_dense _to_sparse _to_sparse_csr
    _unique2 _unsafe_index _unsafe_view adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d all alpha_dropout
    amax amin aminmax any arange argmax argmin argsort bernoulli bincount bucketize cat channel_shuffle clone
    constant_pad_nd contiguous copy count_nonzero cummax cummin diag_embed dropout embedding empty empty_like
    empty_permuted empty_strided equal eye feature_dropout fill flip fractional_max_pool2d full full_like gather glu
    histc im2col index index_copy index_fill index_put index_select isin kthvalue lift linspace masked_fill
    masked_scatter masked_select max max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d
    max_pool3d_with_indices max_unpool2d max_unpool3d median min mode multinomial native_channel_shuffle
    native_dropout new_empty new_empty_strided new_full new_ones new_zeros nonzero normal one_hot ones ones_like
    pad_sequence pixel_shuffle pixel_unshuffle put rand rand_like randint randint_like randn randn_like randperm
    reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d
    replication_pad3d resize roll rot90 scalar_tensor scatter searchsorted select_scatter
    slice_scatter softmax sort split_with_sizes_copy stack sym_size take topk tril tril_indices triu triu_indices
    unfold_copy uniform unique_consecutive unique_dim unsafe_chunk unsafe_split unsafe_split_with_sizes
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d where zero zeros zeros_like
"""
FREE = frozenset(_FREE.split())


def _is_complex(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_complex()
