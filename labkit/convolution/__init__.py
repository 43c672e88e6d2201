"""Convolution as a product of matrices (chapter 3), by frequencies and by Winograd's transforms (chapter 23)."""

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
)
from labkit.convolution.fuse import fuse_1x1, fuse_layers
from labkit.convolution.im2col import col2im, conv2d_gemm, im2col, patches
from labkit.convolution.toeplitz import conv_matrix, poisson_matrix, toeplitz, toeplitz_2d
from labkit.convolution.window import output_shape
from labkit.convolution.winograd import F23, f23
from labkit.convolution.winograd_layer import WinogradConv2d

__all__ = [
    "EINSUM",
    "F23",
    "Transforms",
    "WinogradConv2d",
    "col2im",
    "conv2d_gemm",
    "conv_matrix",
    "convolve1d",
    "cook_toom",
    "correlate1d",
    "crossover_kernel",
    "default_points",
    "direct_conv2d_mults",
    "einsum_layer",
    "f23",
    "fft",
    "fft_conv2d",
    "fft_conv2d_mults",
    "fft_convolve1d",
    "fuse_1x1",
    "fuse_layers",
    "ifft",
    "im2col",
    "n_mults",
    "output_shape",
    "patches",
    "poisson_matrix",
    "saving",
    "toeplitz",
    "toeplitz_2d",
]
