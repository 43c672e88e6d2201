"""Convolution as a product of matrices (chapter 3)."""

from labkit.convolution.einsum import EINSUM, einsum_layer
from labkit.convolution.fuse import fuse_1x1, fuse_layers
from labkit.convolution.im2col import col2im, conv2d_gemm, im2col, patches
from labkit.convolution.toeplitz import conv_matrix, poisson_matrix, toeplitz, toeplitz_2d
from labkit.convolution.window import output_shape

__all__ = [
    "EINSUM",
    "col2im",
    "conv2d_gemm",
    "conv_matrix",
    "einsum_layer",
    "fuse_1x1",
    "fuse_layers",
    "im2col",
    "output_shape",
    "patches",
    "poisson_matrix",
    "toeplitz",
    "toeplitz_2d",
]
