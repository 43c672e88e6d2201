"""The table of Deep Compression: what the lecture says of it, and what relative indices predict of its rates."""

import numpy as np
import pytest

from labkit.lectures import table
from labkit.sparse import expected_padding

ROWS = {row["layer"]: row for row in table("deep_compression_vgg16").rows}


def test_convolutions_keep_more_than_linear_layers():
    kept = {kind: [r["weights_pct_P"] for name, r in ROWS.items() if name.startswith(kind)] for kind in ("conv", "fc")}
    assert np.mean(kept["conv"]) > np.mean(kept["fc"])
    assert len(kept["conv"]) == 13


@pytest.mark.parametrize("layer", ["conv3_2", "conv4_2", "conv5_3", "fc6", "fc7", "fc8"])
def test_the_rates_follow_from_the_bits_and_the_padding(layer):
    """Kept weights are printed as whole per cents: 4 may be 3.5 to 4.5, so the prediction is an interval."""
    row = ROWS[layer]
    bits = row["weight_bits_PQ"] + row["index_bits_PQ"]

    def rate(kept):
        return kept * (1 + expected_padding(kept / 100, bits=int(row["index_bits_PQ"]))) * bits / 32

    low, high = rate(row["weights_pct_P"] - 0.5), rate(row["weights_pct_P"] + 0.5)
    assert low - 0.2 <= row["compress_rate_PQ"] <= high + 0.2


def test_without_padding_the_linear_layers_would_be_smaller():
    for layer in ("fc6", "fc7"):
        row = ROWS[layer]
        assert row["weights_pct_P"] * (row["weight_bits_PQ"] + row["index_bits_PQ"]) / 32 < row["compress_rate_PQ"]
