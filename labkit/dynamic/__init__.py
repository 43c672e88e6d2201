"""Networks that compute less where the input allows it: tiles, blocks and channels that are left out (chapter 29)."""

from labkit.dynamic.channel_gating import (
    ChannelGate,
)
from labkit.dynamic.collaborative import (
    LCCL,
)
from labkit.dynamic.fbs import (
    DensityAnnealing,
    FBSConv2d,
    n_winners,
    set_boosting,
    set_density,
    skip_probabilities,
    subsample,
    winners,
)
from labkit.dynamic.ran import macs_ran
from labkit.dynamic.runtime_pruning import (
    Episode,
    RuntimePruning,
)
from labkit.dynamic.sbnet import SBConv2d, Tiling, gather, scatter, tile_indices
from labkit.dynamic.scene import SCENES, road_distance, road_mask
from labkit.dynamic.sgad import (
    SGAD,
    Run,
    SincRound,
    drop_ratio_loss,
    expected_drop_ratio,
    guidance_net,
    kept_at_most_sure,
    mask_net,
    sgad_objective,
    sinc_round,
    softmax_variance,
)
from labkit.dynamic.skipping import (
    DynamicLayer,
    active_channels,
    convolve_channels,
    convolve_each,
    convolve_positions,
    dynamic_layers,
    multiply_adds_per_image,
    penalty,
    set_execution,
)
from labkit.dynamic.statistics import renormalized

__all__ = [
    "LCCL",
    "SCENES",
    "SGAD",
    "ChannelGate",
    "DensityAnnealing",
    "DynamicLayer",
    "Episode",
    "FBSConv2d",
    "Run",
    "RuntimePruning",
    "SBConv2d",
    "SincRound",
    "Tiling",
    "active_channels",
    "convolve_channels",
    "convolve_each",
    "convolve_positions",
    "drop_ratio_loss",
    "dynamic_layers",
    "expected_drop_ratio",
    "gather",
    "guidance_net",
    "kept_at_most_sure",
    "macs_ran",
    "mask_net",
    "multiply_adds_per_image",
    "n_winners",
    "penalty",
    "renormalized",
    "road_distance",
    "road_mask",
    "scatter",
    "set_boosting",
    "set_density",
    "set_execution",
    "sgad_objective",
    "sinc_round",
    "skip_probabilities",
    "softmax_variance",
    "subsample",
    "tile_indices",
    "winners",
]
