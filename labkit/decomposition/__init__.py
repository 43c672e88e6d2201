"""Matrices and layers as products of smaller ones (chapters 5 to 11)."""

from labkit.decomposition.block_term import BlockTerm, btd
from labkit.decomposition.block_term_layers import BTLinear, BTLSTMCell
from labkit.decomposition.conv_layers import LowRankConv2d, dac, factorize_conv
from labkit.decomposition.conv_schemes import (
    SCHEMES,
    Cut,
    KernelFactors,
    factorize_kernel,
    kernel_spectrum,
    speedup_bound,
)
from labkit.decomposition.cp import CP, cp_als, cp_unit, khatri_rao
from labkit.decomposition.cp_algebraic import border_rank_cp, border_rank_tensor, cp_power, joint_diagonalize, rank_one
from labkit.decomposition.extended_tt import ExtendedTT, extended_tt
from labkit.decomposition.formats import relative_error, tensor_param_count
from labkit.decomposition.kfac import KroneckerFisher, fisher_block, fisher_samples, kfac_factors
from labkit.decomposition.kronecker import (
    KroneckerSum,
    block_shapes,
    kpsvd,
    kron,
    kron_error,
    kron_matmul,
    kron_solve,
    kron_spectrum,
    rearrange,
    unvec,
    vec,
)
from labkit.decomposition.kronecker_layers import KConv2d, KroneckerLinear, SharedGroupConv2d, suggest_left
from labkit.decomposition.layers import LowRankLinear, factorize_linear
from labkit.decomposition.low_rank_sparse import LowRankSparse, grebdec
from labkit.decomposition.low_rank_sparse_layer import LowRankSparseLinear, LowRankSparseScheme
from labkit.decomposition.nuclear import (
    nuclear_norm,
    nuclear_penalty,
    nuclear_subgradient,
    singular_value_threshold,
)
from labkit.decomposition.rank_selection import ranks_for_energy, ranks_for_tol, select_ranks, uniform_ranks
from labkit.decomposition.response import layer_inputs, response_pca, response_spectrum
from labkit.decomposition.ring_layer import TRLinear
from labkit.decomposition.schemes import (
    ConvScheme,
    KConvScheme,
    KroneckerScheme,
    LowRankScheme,
    ResponseScheme,
    SeparableScheme,
    SharedGroupScheme,
    low_rank_plan,
    response_plan,
)
from labkit.decomposition.separable import SeparableConv, SeparableKernel, factorize_convnd, separable_kernel
from labkit.decomposition.svd import (
    LowRank,
    break_even_rank,
    jacobi_svd,
    numerical_rank,
    param_count,
    randomized_svd,
    rank_for_energy,
    rank_for_tol,
    svd_rate,
    svd_terms,
    thin_svd,
    truncated_svd,
)
from labkit.decomposition.tensor_convs import CPConv2d, TuckerConv2d
from labkit.decomposition.tensor_layers import TTLinear
from labkit.decomposition.tensor_ring import TensorRing, tr_als, tr_svd
from labkit.decomposition.tensor_schemes import BTScheme, CPScheme, TRScheme, TTScheme, TuckerScheme
from labkit.decomposition.tensor_train import TensorTrain, tt_ranks, tt_round, tt_sin, tt_sum, tt_svd
from labkit.decomposition.trained_rank import TRPTrainer
from labkit.decomposition.transfer import lrdkt, softened
from labkit.decomposition.tt_matrix import TTMatrix, split_modes, tt_matrix
from labkit.decomposition.tucker import Tucker, hooi, hosvd, mode_product
from labkit.decomposition.unfolding import fold, unfold

__all__ = [
    "CP",
    "SCHEMES",
    "BTLSTMCell",
    "BTLinear",
    "BTScheme",
    "BlockTerm",
    "CPConv2d",
    "CPScheme",
    "ConvScheme",
    "Cut",
    "ExtendedTT",
    "KConv2d",
    "KConvScheme",
    "KernelFactors",
    "KroneckerFisher",
    "KroneckerLinear",
    "KroneckerScheme",
    "KroneckerSum",
    "LowRank",
    "LowRankConv2d",
    "LowRankLinear",
    "LowRankScheme",
    "LowRankSparse",
    "LowRankSparseLinear",
    "LowRankSparseScheme",
    "ResponseScheme",
    "SeparableConv",
    "SeparableKernel",
    "SeparableScheme",
    "SharedGroupConv2d",
    "SharedGroupScheme",
    "TRLinear",
    "TRPTrainer",
    "TRScheme",
    "TTLinear",
    "TTMatrix",
    "TTScheme",
    "TensorRing",
    "TensorTrain",
    "Tucker",
    "TuckerConv2d",
    "TuckerScheme",
    "block_shapes",
    "border_rank_cp",
    "border_rank_tensor",
    "break_even_rank",
    "btd",
    "cp_als",
    "cp_power",
    "cp_unit",
    "dac",
    "extended_tt",
    "factorize_conv",
    "factorize_convnd",
    "factorize_kernel",
    "factorize_linear",
    "fisher_block",
    "fisher_samples",
    "fold",
    "grebdec",
    "hooi",
    "hosvd",
    "jacobi_svd",
    "joint_diagonalize",
    "kernel_spectrum",
    "kfac_factors",
    "khatri_rao",
    "kpsvd",
    "kron",
    "kron_error",
    "kron_matmul",
    "kron_solve",
    "kron_spectrum",
    "layer_inputs",
    "low_rank_plan",
    "lrdkt",
    "mode_product",
    "nuclear_norm",
    "nuclear_penalty",
    "nuclear_subgradient",
    "numerical_rank",
    "param_count",
    "randomized_svd",
    "rank_for_energy",
    "rank_for_tol",
    "rank_one",
    "ranks_for_energy",
    "ranks_for_tol",
    "rearrange",
    "relative_error",
    "response_pca",
    "response_plan",
    "response_spectrum",
    "select_ranks",
    "separable_kernel",
    "singular_value_threshold",
    "softened",
    "speedup_bound",
    "split_modes",
    "suggest_left",
    "svd_rate",
    "svd_terms",
    "tensor_param_count",
    "thin_svd",
    "tr_als",
    "tr_svd",
    "truncated_svd",
    "tt_matrix",
    "tt_ranks",
    "tt_round",
    "tt_sin",
    "tt_sum",
    "tt_svd",
    "unfold",
    "uniform_ranks",
    "unvec",
    "vec",
]
