"""Two convolutions in a row are one, if the second is 1 x 1. Chapter 3; lecture 000:297-301."""

import numpy as np
import torch
from torch import nn

from labkit import checks


def fuse_1x1(W1: np.ndarray, W2: np.ndarray) -> np.ndarray:
    """Return the weights W with conv(W, F) = conv(W1, conv(W2, F)) for 1 x 1 weights W1, applied after W2.

    Parameters
    ----------
    W1 : real array (K, M, 1, 1)
    W2 : real array (M, C, kh, kw)

    Returns
    -------
    array (K, C, kh, kw)

    Raises
    ------
    TypeError, ValueError : not such arrays, W1 is not 1 x 1, or their M differ.

    The patches of a 1 x 1 window are the feature map itself, toeplitz_1x1(F) = F, so that
    reshape(W1) toeplitz_1x1(reshape(W2) toeplitz(F)) = reshape(W1) reshape(W2) toeplitz(F). Stride, padding and
    dilation are those of W2. Chapter 3; lecture 000:297-301.

    >>> fuse_1x1(np.ones((1, 2, 1, 1)), np.ones((2, 1, 1, 3)))
    array([[[[2., 2., 2.]]]])
    """
    W1, W2 = checks.array(W1, "W1", ndim=4), checks.array(W2, "W2", ndim=4)
    if W1.shape[2:] != (1, 1) or W1.shape[1] != len(W2):
        wanted = f"(K, {len(W2)}, 1, 1) to follow W2 {W2.shape}"
        raise ValueError(f"W1 must have shape {wanted}, got {W1.shape}")
    return (W1[:, :, 0, 0] @ W2.reshape(len(W2), -1)).reshape(len(W1), *W2.shape[1:])


def fuse_layers(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Return one layer that does what `second` does after `first`, biases included; `second` must be 1 x 1.

    Parameters
    ----------
    first : convolution with one group and any kernel, stride, padding and dilation
    second : 1 x 1 convolution with one group, stride 1 and no padding

    Returns
    -------
    nn.Conv2d with the geometry, number type, device and mode of `first`; both layers stay as they are

    Raises
    ------
    TypeError, ValueError : not two such layers, or their channels do not meet.

    W = W1 W2, b = W1 b2 + b1, with W1, b1 of `second` and W2, b2 of `first`. Two layers of which the first is the
    1 x 1 cannot be joined like this: padding and bias come between. Chapter 3; lecture 000:297-301.

    >>> fuse_layers(nn.Conv2d(3, 8, 5, stride=2), nn.Conv2d(8, 4, 1))
    Conv2d(3, 4, kernel_size=(5, 5), stride=(2, 2))
    """
    _check_layers(first, second)
    options = {key: getattr(first, key) for key in ("stride", "padding", "dilation", "padding_mode")}
    biased = first.bias is not None or second.bias is not None
    with torch.device("meta"):
        fused = nn.Conv2d(first.in_channels, second.out_channels, first.kernel_size, bias=biased, **options)  # type: ignore[arg-type]
    W1, W2 = second.weight.detach()[:, :, 0, 0], first.weight.detach()  # (K, M), (M, C, kh, kw)
    fused.weight = nn.Parameter(torch.einsum("km,mcij->kcij", W1, W2))
    if biased:
        fused.bias = nn.Parameter(W1 @ _bias(first) + _bias(second))
    return fused.train(first.training)


def _bias(layer: nn.Conv2d) -> torch.Tensor:
    return layer.weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias.detach()


def _check_layers(first: nn.Conv2d, second: nn.Conv2d) -> None:
    for layer, name in ((first, "first"), (second, "second")):
        if checks.instance(layer, name, nn.Conv2d).groups != 1:
            raise ValueError(f"{name} must have one group, got {layer}")
    plain = second.kernel_size == second.stride == (1, 1) and second.padding in ((0, 0), 0, "valid", "same")
    if not plain:
        raise ValueError(f"second must be 1 x 1 with stride 1 and no padding, got {second}")
    if second.in_channels != first.out_channels:
        raise ValueError(f"second must take {first.out_channels} channels, got {second}")
    if first.weight.dtype != second.weight.dtype:
        raise TypeError(f"second must hold {first.weight.dtype} like first, got {second.weight.dtype}")
