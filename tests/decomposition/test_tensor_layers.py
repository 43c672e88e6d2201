"""Linear layers as trains, rings and block terms: the dense map, the counted parameters, files, gradients, refusals."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from labkit.cost import count
from labkit.decomposition import BTLinear, BTLSTMCell, TRLinear, TTLinear, tt_matrix, tt_ranks
from labkit.decomposition.tensor_layers import CHUNK_BYTES

IN, OUT = (3, 4, 5), (2, 3, 4)
MAKE = {
    "tt": partial(TTLinear, rank=3),
    "tt, two modes": lambda i, o, **k: TTLinear((12, 5), (4, 6), rank=2, **k),
    "tt, wide end last": lambda i, o, **k: TTLinear((5, 2, 6), (6, 2, 2), rank=(2, 3), **k),
    "tr": partial(TRLinear, rank=2),
    "tr, uneven": lambda i, o, **k: TRLinear((60,), (2, 3, 4), rank=2, **k),
    "bt": partial(BTLinear, rank=2, n_terms=3),
    "bt, ranks": partial(BTLinear, rank=(1, 2, 3), n_terms=2),
}


@pytest.fixture(autouse=True)
def _own_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def close(a, b, atol=1e-10):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", MAKE)
def test_the_layer_is_its_dense_matrix(name, bias):
    layer = MAKE[name](IN, OUT, bias=bias, dtype=torch.double)
    x = torch.randn(7, 60, dtype=torch.double)
    close(layer(x), layer.to_dense()(x))
    close(layer(x[0]), layer(x)[0])
    close(layer(x.reshape(7, 1, 60)), layer(x)[:, None])
    assert (layer.to_dense().bias is not None) == bias
    assert not layer.eval().to_dense().training


@pytest.mark.parametrize("name", MAKE)
def test_state_and_config_rebuild_the_layer(name):
    layer = MAKE[name](IN, OUT)
    other = type(layer)(**layer.config())
    other.load_state_dict(layer.state_dict(), strict=True)
    x = torch.randn(4, 60)
    assert torch.equal(other(x), layer(x))
    assert other.config() == layer.config()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MAKE)
def test_gradients_reach_every_factor(name, dtype):
    layer = MAKE[name](IN, OUT, dtype=dtype)
    layer(torch.randn(4, 60, dtype=dtype)).float().square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


@pytest.mark.parametrize("name", MAKE)
def test_a_new_layer_starts_like_a_linear_one(name):
    """The variance of an output is that of nn.Linear, within what so few random factors allow."""
    x = torch.randn(500, 60)
    stds = torch.stack([MAKE[name](IN, OUT, bias=False)(x).std() for _ in range(200)])
    expected = nn.Linear(60, 24, bias=False)(x).std()
    assert 0.5 < stds.square().mean().sqrt() / expected < 2


@pytest.mark.parametrize("make", [TTLinear, TRLinear, BTLinear])
def test_at_full_rank_a_linear_layer_comes_back(make):
    dense = nn.Linear(12, 8).double().eval()
    x = torch.randn(5, 12, dtype=torch.double)
    if make is TTLinear:
        small = TTLinear.from_linear(dense, in_modes=(3, 4), out_modes=(2, 4), tol=1e-12)
    elif make is TRLinear:
        small = TRLinear.from_linear(dense, in_modes=(12,), out_modes=(8,), rank=(8, 1))
    else:
        small = BTLinear.from_linear(dense, in_modes=(3, 4), out_modes=(2, 4), rank=6, n_terms=1)
    close(small(x), dense(x), 1e-8)
    assert not small.training
    assert {p.dtype for p in small.parameters()} == {torch.double}


@pytest.mark.parametrize("seed", range(3))
def test_the_matrix_of_a_layer_is_decomposed_as_well_as_its_tensor(seed):
    torch.manual_seed(seed)
    dense = nn.Linear(60, 24, bias=False).double()
    small = TTLinear.from_linear(dense, in_modes=IN, out_modes=OUT, rank=4)
    tt = tt_matrix(dense.weight.detach().numpy(), out_modes=OUT, in_modes=IN, rank=4)
    close(small.weight(), torch.from_numpy(tt.to_tensor()))
    ring = TRLinear.from_linear(dense, in_modes=(6, 10), out_modes=(4, 6), rank=(2, 2, 2, 2))
    assert (ring.weight() - dense.weight).norm() < dense.weight.norm()
    few, more = (
        BTLinear.from_linear(dense, in_modes=IN, out_modes=OUT, rank=2, n_terms=p, n_iter_max=10) for p in (1, 4)
    )
    assert (more.weight() - dense.weight).norm() < (few.weight() - dense.weight).norm()


# ---- the layer of the lecture


def test_the_layer_of_the_lecture_has_2016_weights():
    layer = TTLinear((2, 7, 8, 8, 7, 4), (4,) * 6, rank=4, bias=False)
    assert (layer.in_features, layer.out_features) == (25_088, 4_096)
    assert sum(p.numel() for p in layer.parameters()) == 2_016
    dense = 25_088 * 4_096
    assert round(dense / 2_016) == 50_972
    assert dense * 4 / 2**20 == 392.0
    assert [tuple(G.shape) for G in layer.cores] == [
        (1, 4, 2, 4), (4, 4, 7, 4), (4, 4, 8, 4), (4, 4, 8, 4), (4, 4, 7, 4), (4, 4, 4, 1),
    ]  # fmt: skip


def test_the_memory_of_the_lecture_is_the_largest_state_from_the_first_core_on():
    """0.766 MB for one image: 4 x 4 values for each of the 12,544 inputs that are left after the first core."""
    after_first = (25_088 // 2) * 4 * 4
    assert round(after_first * 4 / 2**20, 3) == 0.766
    layer = TTLinear((2, 7, 8, 8, 7, 4), (4,) * 6, rank=4)
    assert layer.largest_state < after_first  # it starts from the other end


def test_the_layer_of_the_lecture_equals_a_dense_one_on_its_own_weight():
    layer = TTLinear((2, 7, 8, 8, 7, 4), (4,) * 6, rank=4, bias=False)
    x = torch.randn(3, 25_088)
    rows = torch.tensor([0, 1, 1_000, 4_095])
    torch.testing.assert_close(layer(x)[:, rows], x @ layer.weight()[rows].T, rtol=0, atol=1e-4)


def test_large_batches_go_through_in_groups_with_the_same_result():
    layer = TTLinear((8, 8, 8), (8, 8, 8), rank=8, dtype=torch.double)
    n = 3 + CHUNK_BYTES // (8 * layer.largest_state)
    x = torch.randn(n, 512, dtype=torch.double)
    close(layer(x), layer.to_dense()(x))


@pytest.mark.parametrize("modes", [(IN, OUT), ((5, 2, 6), (6, 2, 2)), ((2, 7, 8, 8, 7, 4), (4,) * 6)])
def test_the_counted_multiply_adds_are_those_it_says(modes):
    layer = TTLinear(*modes, rank=2, bias=False)
    counted = count(layer, torch.zeros(1, layer.in_features))
    merging = counted.macs - layer.macs  # the product of two cores, which does not grow with the batch
    assert counted.uncounted == ()
    assert 0 <= merging < layer.macs


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_parameter_counts_of_ring_and_blocks(rank):
    ring = TRLinear((6, 10), (4, 6), rank=min(rank, 4), bias=False)
    assert sum(p.numel() for p in ring.parameters()) == min(rank, 4) ** 2 * (6 + 10 + 4 + 6)
    blocks = BTLinear(IN, OUT, rank=rank, n_terms=2, bias=False)
    assert sum(p.numel() for p in blocks.parameters()) == 2 * (rank * (3 * 2 + 4 * 3 + 5 * 4) + rank**3)


# ---- the LSTM cell


def cell(**options):
    return BTLSTMCell((4, 7), (4, 8), rank=2, n_terms=2, **options)


@pytest.mark.parametrize("bias", [True, False])
def test_the_cell_is_torchs_on_its_dense_weights(bias):
    small = cell(bias=bias, dtype=torch.double)
    dense, x = small.to_dense(), torch.randn(6, 5, 28, dtype=torch.double)
    state = theirs = None
    for step in x:
        state, theirs = small(step, state), dense(step, theirs)
    for mine, other in zip(state, theirs, strict=True):
        close(mine, other)


def test_the_count_of_the_cell_is_the_formula():
    P, r, h, n = 2, 2, (4, 8), (4, 7)
    inputs = P * (4 * h[0] * n[0] * r + h[1] * n[1] * r + r**2)
    hidden = math.prod(h)
    assert sum(p.numel() for p in cell().parameters()) == inputs + 4 * hidden**2 + 4 * hidden
    dense = sum(p.numel() for p in nn.LSTMCell(28, 32).parameters()) - 4 * hidden  # torch keeps two biases
    assert inputs < 4 * hidden * 28
    assert sum(p.numel() for p in cell().parameters()) < dense


def test_a_cell_comes_back_from_its_state_and_config():
    small = cell()
    other = BTLSTMCell(**small.config())
    other.load_state_dict(small.state_dict(), strict=True)
    x = torch.randn(3, 28)
    assert torch.equal(other(x)[0], small(x)[0])


def test_a_cell_learns():
    """Which half of the sequence held the large numbers: a few steps of training tell."""
    small, head = cell(), nn.Linear(32, 2)
    optimizer = torch.optim.Adam([*small.parameters(), *head.parameters()], lr=0.02)
    labels = torch.arange(64) % 2
    x = torch.randn(4, 64, 28) + 2 * (torch.arange(4)[:, None, None] // 2 == labels[None, :, None])
    losses = []
    for _ in range(30):
        state = None
        for step in x:
            state = small(step, state)
        losses.append(nn.functional.cross_entropy(head(state[0]), labels))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]


# ---- bad input

LINEAR = nn.Linear(60, 24)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TTLinear((4,), (4,), rank=1), "in_modes must have at least 2 modes"),
        (lambda: TTLinear((4, 2), (4, 2, 2), rank=1), "equally many modes"),
        (lambda: TTLinear((4, 0), (4, 2), rank=1), r"in_modes\[1\] must be at least 1"),
        (lambda: TTLinear(8, (4, 2), rank=1), "in_modes must be"),
        (lambda: TTLinear((4, 2), (4, 2), rank=5), r"rank\[0\] must be between 1 and 4, got 5"),
        (lambda: TTLinear((4, 2), (4, 2), rank=2.0), "must be an integer"),
        (lambda: TTLinear((4, 2), (4, 2), rank=(1, 1)), "rank must be an int or 1 ints"),
        (lambda: TTLinear.from_linear(LINEAR, in_modes=(6, 5), out_modes=(4, 6), rank=1), "must have the product 60"),
        (lambda: TTLinear.from_linear(LINEAR, in_modes=IN, out_modes=OUT), "give exactly one of rank and tol"),
        (lambda: TTLinear.from_linear(nn.ReLU(), in_modes=IN, out_modes=OUT, rank=1), "layer must be Linear"),
        (lambda: TRLinear((), (4, 2), rank=1), "in_modes must have at least 1 modes"),
        (lambda: TRLinear((4, 2), (4, 2), rank=9), r"rank\[.\] must be between 1 and"),
        (lambda: TRLinear((4, 2), (4, 2), rank=(1, 1)), "rank must be an int or 4 ints"),
        (lambda: TRLinear((4, 2), (4, 2), rank=0), r"rank\[0\] must be at least 1"),
        (lambda: TRLinear.from_linear(LINEAR, in_modes=(6, 5), out_modes=(4, 6), rank=1), "must have the products"),
        (lambda: TRLinear.from_linear("fc", in_modes=IN, out_modes=OUT, rank=1), "layer must be Linear"),
        (lambda: BTLinear((4, 2), (4, 2), rank=17, n_terms=1), r"rank\[0\] must be between 1 and 16"),
        (lambda: BTLinear((4, 2), (4, 2), rank=1, n_terms=0), "n_terms must be at least 1"),
        (lambda: BTLinear((4, 2), (4, 2, 2), rank=1, n_terms=1), "equally many modes"),
        (lambda: BTLinear.from_linear(LINEAR, in_modes=(6, 5), out_modes=(4, 6), rank=1, n_terms=1), "products"),
        (lambda: BTLinear.from_linear(None, in_modes=IN, out_modes=OUT, rank=1, n_terms=1), "layer must be Linear"),
        (lambda: BTLSTMCell((4, 7), (4,), rank=1, n_terms=1), "hidden_modes must have at least 2 modes"),
        (lambda: BTLSTMCell((4, 7, 2), (4, 8), rank=1, n_terms=1), "equally many modes"),
        (lambda: BTLSTMCell((4, 7), (4, 8), rank=1, n_terms=1.0), "n_terms must be an integer"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_a_weight_that_is_not_finite_is_refused():
    broken = nn.Linear(60, 24)
    broken.weight.data[0, 0] = float("nan")
    for make in (
        partial(TTLinear.from_linear, rank=1),
        partial(TRLinear.from_linear, rank=1),
        partial(BTLinear.from_linear, rank=1, n_terms=1),
    ):
        with pytest.raises(ValueError, match="finite"):
            make(broken, in_modes=IN, out_modes=OUT)


def test_tt_ranks_limit_the_layer():
    assert TTLinear(IN, OUT, rank=tt_ranks((6, 12, 20))).rank == (6, 20)
