"""Pruning: weights, channels and layers that a network does without."""

from labkit.pruning.slimming import (
    SlimmingRecipe,
    mask_channels,
    rebuild,
    scale_penalty,
    select_channels,
    slim,
)

__all__ = ["SlimmingRecipe", "mask_channels", "rebuild", "scale_penalty", "select_channels", "slim"]
