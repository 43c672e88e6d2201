"""Matrices and layers as products of smaller ones (chapters 5 to 11)."""

from labkit.decomposition.layers import LowRankConv2d, LowRankLinear, factorize_conv, factorize_linear
from labkit.decomposition.rank_selection import ranks_for_energy, ranks_for_tol, select_ranks, uniform_ranks
from labkit.decomposition.response import layer_inputs, response_pca, response_spectrum
from labkit.decomposition.schemes import LowRankScheme, ResponseScheme, low_rank_plan, response_plan
from labkit.decomposition.svd import (
    LowRank,
    break_even_rank,
    jacobi_svd,
    param_count,
    randomized_svd,
    rank_for_energy,
    rank_for_tol,
    svd_rate,
    svd_terms,
    thin_svd,
    truncated_svd,
)
from labkit.decomposition.unfolding import fold, unfold

__all__ = [
    "LowRank",
    "LowRankConv2d",
    "LowRankLinear",
    "LowRankScheme",
    "ResponseScheme",
    "break_even_rank",
    "factorize_conv",
    "factorize_linear",
    "fold",
    "jacobi_svd",
    "layer_inputs",
    "low_rank_plan",
    "param_count",
    "randomized_svd",
    "rank_for_energy",
    "rank_for_tol",
    "ranks_for_energy",
    "ranks_for_tol",
    "response_pca",
    "response_plan",
    "response_spectrum",
    "select_ranks",
    "svd_rate",
    "svd_terms",
    "thin_svd",
    "truncated_svd",
    "unfold",
    "uniform_ranks",
]
