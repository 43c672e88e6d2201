"""Convolution as a product of matrices (chapter 3), by frequencies and by Winograd's transforms (23, 24)."""

from labkit.convolution.bilinear import correlation_tensor, is_exact, transforms_of, winograd_cp
from labkit.convolution.cook_toom import Transforms, cook_toom, default_points, n_mults, saving
from labkit.convolution.einsum import EINSUM, einsum_layer
from labkit.convolution.fourier import (
    convolve1d,
    correlate1d,
    crossover_kernel,
    direct_conv2d_mults,
    fft,
    fft_conv2d,
    fft_conv2d_mults,
    fft_convolve1d,
    ifft,
    kernel_frequencies,
)
from labkit.convolution.fuse import fuse_1x1, fuse_layers
from labkit.convolution.im2col import col2im, conv2d_gemm, im2col, patches
from labkit.convolution.rounding import direct_error, winograd_error
from labkit.convolution.sparse_winograd import (
    SAVINGS,
    SparseWinograd,
    SparseWinogradConv2d,
    density,
    density_after_transform,
    expected_density,
    input_density_after_transform,
    savings,
)
from labkit.convolution.toeplitz import conv_matrix, poisson_matrix, toeplitz, toeplitz_2d
from labkit.convolution.window import output_shape
from labkit.convolution.winograd import F23, f23, transform_kernel
from labkit.convolution.winograd_layer import WinogradConv2d

__all__ = [
    "EINSUM",
    "F23",
    "SAVINGS",
    "SparseWinograd",
    "SparseWinogradConv2d",
    "Transforms",
    "WinogradConv2d",
    "col2im",
    "conv2d_gemm",
    "conv_matrix",
    "convolve1d",
    "cook_toom",
    "correlate1d",
    "correlation_tensor",
    "crossover_kernel",
    "default_points",
    "density",
    "density_after_transform",
    "direct_conv2d_mults",
    "direct_error",
    "einsum_layer",
    "expected_density",
    "f23",
    "fft",
    "fft_conv2d",
    "fft_conv2d_mults",
    "fft_convolve1d",
    "fuse_1x1",
    "fuse_layers",
    "ifft",
    "im2col",
    "input_density_after_transform",
    "is_exact",
    "kernel_frequencies",
    "n_mults",
    "output_shape",
    "patches",
    "poisson_matrix",
    "saving",
    "savings",
    "toeplitz",
    "toeplitz_2d",
    "transform_kernel",
    "transforms_of",
    "winograd_cp",
    "winograd_error",
]
