"""What a compression plan says about a layer that becomes a tensor decomposition. Chapter 8."""

from dataclasses import dataclass

from torch import nn

from labkit import checks
from labkit.decomposition.block_term_layers import BTLinear
from labkit.decomposition.formats import one_of
from labkit.decomposition.ring_layer import TRLinear
from labkit.decomposition.tensor_convs import CPConv2d, TuckerConv2d
from labkit.decomposition.tensor_layers import TTLinear

Ranks = int | tuple[int, ...]


@dataclass(frozen=True)
class CPScheme:
    """Replace a convolution by `CPConv2d.from_conv` with these arguments.

    >>> CPScheme(rank=6).apply(nn.Conv2d(4, 8, 3)).rank
    6
    """

    rank: int
    separable: bool = True
    ridge: float = 0.0
    random_state: int = 0

    def apply(self, layer: nn.Module) -> CPConv2d:
        """Return the new layer; raises TypeError or ValueError if the layer or the rank does not fit."""
        chosen = checks.instance(layer, "layer", nn.Conv2d)
        return CPConv2d.from_conv(
            chosen, rank=self.rank, separable=self.separable, ridge=self.ridge, random_state=self.random_state
        )


@dataclass(frozen=True)
class TuckerScheme:
    """Replace a convolution by `TuckerConv2d.from_conv`; give `rank`, as (r_out, r_in) or an int, or `tol`.

    >>> TuckerScheme(rank=(6, 3)).apply(nn.Conv2d(4, 8, 3)).rank
    (6, 3)
    """

    rank: Ranks | None = None
    tol: float | None = None

    def __post_init__(self) -> None:
        one_of(self.rank, self.tol)

    def apply(self, layer: nn.Module) -> TuckerConv2d:
        """Return the new layer; raises TypeError or ValueError if the layer or the rank does not fit."""
        return TuckerConv2d.from_conv(checks.instance(layer, "layer", nn.Conv2d), rank=self.rank, tol=self.tol)


@dataclass(frozen=True)
class TTScheme:
    """Replace a linear layer by `TTLinear.from_linear`; give `rank` or `tol`.

    >>> TTScheme(in_modes=(2, 3), out_modes=(2, 2), rank=2).apply(nn.Linear(6, 4)).rank
    (2,)
    """

    in_modes: tuple[int, ...]
    out_modes: tuple[int, ...]
    rank: Ranks | None = None
    tol: float | None = None

    def __post_init__(self) -> None:
        one_of(self.rank, self.tol)

    def apply(self, layer: nn.Module) -> TTLinear:
        """Return the new layer; raises TypeError or ValueError if the layer, the modes or the ranks do not fit."""
        chosen, modes = (
            checks.instance(layer, "layer", nn.Linear),
            {"in_modes": self.in_modes, "out_modes": self.out_modes},
        )
        return TTLinear.from_linear(chosen, **modes, rank=self.rank, tol=self.tol)


@dataclass(frozen=True)
class TRScheme:
    """Replace a linear layer by `TRLinear.from_linear` with these modes and ranks.

    >>> TRScheme(in_modes=(2, 3), out_modes=(2, 2), rank=2).apply(nn.Linear(6, 4)).rank
    (2, 2, 2, 2)
    """

    in_modes: tuple[int, ...]
    out_modes: tuple[int, ...]
    rank: Ranks

    def apply(self, layer: nn.Module) -> TRLinear:
        """Return the new layer; raises TypeError or ValueError if the layer, the modes or the ranks do not fit."""
        chosen = checks.instance(layer, "layer", nn.Linear)
        return TRLinear.from_linear(chosen, in_modes=self.in_modes, out_modes=self.out_modes, rank=self.rank)


@dataclass(frozen=True)
class BTScheme:
    """Replace a linear layer by `BTLinear.from_linear` with these modes, ranks and number of terms.

    >>> BTScheme(in_modes=(2, 3), out_modes=(2, 2), rank=1, n_terms=2).apply(nn.Linear(6, 4)).n_terms
    2
    """

    in_modes: tuple[int, ...]
    out_modes: tuple[int, ...]
    rank: Ranks
    n_terms: int

    def apply(self, layer: nn.Module) -> BTLinear:
        """Return the new layer; raises TypeError or ValueError if the layer, the modes or the ranks do not fit."""
        chosen = checks.instance(layer, "layer", nn.Linear)
        return BTLinear.from_linear(
            chosen, in_modes=self.in_modes, out_modes=self.out_modes, rank=self.rank, n_terms=self.n_terms
        )
