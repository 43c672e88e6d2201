"""The explorers and the diagrams of chapter 8: their numbers against the library, and the page against Python."""

import numpy as np
import pytest

from labkit.decomposition import TTLinear, relative_error, tt_svd
from labkit.explore import figures
from labkit.explore.networks import FORMATS, tensor_graph
from labkit.explore.tensor_train import MODES, SIDES, hilbert_terms, tensor, tensor_train_explorer
from labkit.explore.tt_layer import tt_layer_cost, tt_layer_explorer


@pytest.fixture(scope="module")
def train():
    return tensor_train_explorer()


@pytest.fixture(scope="module")
def layer():
    return tt_layer_explorer()


# ---- TT explorer


@pytest.mark.parametrize("function", ["sum", "sin", "hilbert"])
@pytest.mark.parametrize("digits", [1, 4, 10])
def test_the_train_shown_is_that_of_tt_svd(train, function, digits):
    shown = train.compute(function=function, d=4, n=6, digits=digits)
    A = tensor(function, 4, 6)
    tt = tt_svd(A, tol=10.0**-digits)
    assert list(shown["ranks"].values()) == list(tt.rank)
    assert shown["numbers"]["Numbers, tensor train"] == tt.n_params
    assert shown["numbers"]["Error"] == relative_error(A, tt.to_tensor()) <= 10.0**-digits


@pytest.mark.parametrize("d", MODES)
@pytest.mark.parametrize("n", SIDES)
@pytest.mark.parametrize("function", ["sum", "sin"])
def test_sums_and_sines_have_rank_2_at_every_bond(train, function, d, n):
    shown = train.compute(function=function, d=d, n=n, digits=10)
    assert set(shown["ranks"].values()) == {2}


@pytest.mark.parametrize("tol", [0.1, 1e-3, 1e-9])
def test_quadrature_gives_the_hilbert_tensor(tol):
    d, n = 4, 5
    R = hilbert_terms(d, n, tol=tol)
    u, w = np.polynomial.legendre.leggauss(R)
    U = ((u + 1) / 2) ** np.arange(n)[:, None]  # (n, R)
    T = np.einsum("r,ir,jr,kr,lr->ijkl", w / 2, U, U, U, U)
    assert relative_error(tensor("hilbert", d, n), T) <= tol
    assert d * (n - 1) + 2 >= 2 * R


def test_every_control_moves_the_train(train):
    train.check()


# ---- TT-layer calculator


@pytest.mark.parametrize("modes", [((2, 7, 8, 8, 7, 4), (4,) * 6), ((4, 4, 5, 10), (5, 5, 5, 4)), ((3, 5), (7, 2))])
@pytest.mark.parametrize("rank", [1, 4, 9])
def test_the_calculator_counts_the_layer(modes, rank):
    cost = tt_layer_cost(*modes, rank=rank)
    layer = TTLinear(*modes, rank=tuple(core[3] for core in cost.cores[:-1]), bias=False, device="meta")
    assert cost.n_params == sum(p.numel() for p in layer.parameters())
    assert [tuple(G.shape) for G in layer.cores] == list(cost.cores)
    assert cost.forward[-1] == cost.backward[-1] == layer.out_features
    assert layer.macs <= 1.25 * min(cost.macs)  # it starts from the better end and may merge its last two cores


def test_the_lectures_layer(layer):
    numbers = layer.compute()["numbers"]
    assert numbers["Weights of the train"] == 2016
    assert round(numbers["Smaller"]) == 50972
    assert numbers["Weights, dense"] == 392.0
    assert round(numbers["Largest state, from the first core"], 3) == 0.766
    assert round(numbers["Largest state, from the last core"], 3) == 0.383


def test_every_control_moves_the_calculator(layer):
    layer.check()


def test_modes_must_be_whole(layer):
    with pytest.raises(ValueError, match="modes of the inputs must be whole numbers"):
        layer.compute(in_modes=[2.5, 7, 8, 8, 7, 4])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tt_layer_cost((2, 2), (2, 2), rank=0), "rank must be at least 1"),
        (lambda: tt_layer_cost((2, 2), (2, 2, 2), rank=1), "equally many modes"),
        (lambda: tt_layer_cost((2,), (2,), rank=1), "at least 2 modes"),
        (lambda: tt_layer_cost((2, 0), (2, 2), rank=1), "must be at least 1"),
    ],
)
def test_bad_arguments_of_the_cost(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- the page


def same_numbers(mine, theirs):
    for item, other in zip(mine["numbers"]["items"], theirs["numbers"]["items"], strict=True):
        assert item["label"] == other["label"]
        same = other["value"] if isinstance(other["value"], str) else pytest.approx(other["value"], rel=1e-9)
        assert item["value"] == same


def test_the_browser_shows_the_same_trains(run_twin, train):
    moves = [
        {"function": f, "d": d, "n": n, "digits": k}
        for f, d, n, k in [("sum", 3, 2, 1), ("sin", 6, 6, 10), ("hilbert", 5, 4, 6)]
    ]
    for move, mine in zip(moves, run_twin(train, "tensor_train.js", moves), strict=True):
        theirs = train.frame(move)
        same_numbers(mine, theirs)
        for name in ("ranks", "sizes"):
            assert mine[name]["categories"] == theirs[name]["categories"]
            np.testing.assert_array_equal(
                mine[name]["series"][0]["values"]["data"], theirs[name]["series"][0]["values"]
            )
        assert mine["sizes"]["cuts"][0]["label"] == theirs["sizes"]["cuts"][0]["label"]
        for line, other in zip(mine["errors"]["series"], theirs["errors"]["series"], strict=True):
            assert (line["label"], line["kind"], line["muted"]) == (other["label"], other["kind"], other["muted"])
            np.testing.assert_allclose(line["y"]["data"], other["y"], rtol=1e-9)


def test_the_browser_computes_the_same_layer(run_twin, layer):
    moves = [
        {"in_modes": [2, 7, 8, 8, 7, 4], "out_modes": [4] * 6, "rank": 4},
        {"in_modes": [4, 4, 5, 10, 1, 1], "out_modes": [5, 5, 5, 4, 1, 1], "rank": 32},
    ]
    for move, mine in zip(moves, run_twin(layer, "tt_layer.js", moves), strict=True):
        theirs = layer.frame(move)
        same_numbers(mine, theirs)
        assert mine["cores"]["columns"] == theirs["cores"]["columns"]
        assert mine["cores"]["rows"] == theirs["cores"]["rows"]
        for bar, other in zip(mine["states"]["series"], theirs["states"]["series"], strict=True):
            np.testing.assert_array_equal(bar["values"]["data"], other["values"])


# ---- diagrams


@pytest.mark.parametrize(
    ("format", "d", "n_nodes", "n_bonds"),
    [
        ("svd", 2, 3, 2),
        ("cp", 5, 5, 5),
        ("tucker", 5, 6, 5),
        ("tt", 5, 5, 4),
        ("extended_tt", 5, 8, 7),
        ("tr", 5, 5, 5),
        ("tt_matrix", 5, 5, 4),
    ],
)
def test_graphs_have_the_right_nodes_bonds_and_open_legs(format, d, n_nodes, n_bonds):
    graph = tensor_graph(format, d)
    assert (len(graph.nodes), len(graph.bonds)) == (n_nodes, n_bonds)
    assert len(graph.legs) == (2 * d if format == "tt_matrix" else d)
    places = [*graph.nodes.values(), *graph.dots]
    assert all(path[0] in places and path[-1] in places for path in graph.bonds)
    assert all(leg[0] in places for leg in graph.legs.values())


def test_the_figure_shows_every_name():
    figure = figures.tensor_network(list(FORMATS), alt="Seven graphs.", caption="Formats.", d=3)
    texts = [text for trace in figure.data for text in trace.text or ()]
    for format, title in FORMATS.items():
        assert title in texts
        for node in tensor_graph(format, 3).nodes:
            assert node in texts
    assert not figure.layout.showlegend
    assert figures.tensor_network("tt", alt="A train.", caption="Train.").layout.height < figure.layout.height


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tensor_graph("mps"), "format must be one of"),
        (lambda: tensor_graph("tt", 1), "d must be between 2 and 8"),
        (lambda: tensor_graph("tr", 2), "d must be between 3 and 8"),
        (lambda: tensor_graph("tt", 4.0), "d must be an integer"),
        (lambda: figures.tensor_network("mps", alt="a", caption="c"), "formats must be one of"),
        (lambda: figures.tensor_network([], alt="a", caption="c"), "formats must name at least one"),
        (lambda: figures.tensor_network("tt", alt="", caption="c"), "alt must not be empty"),
        (lambda: figures.tensor_network("tt", alt="a", caption="c", columns=0), "columns must be"),
    ],
)
def test_bad_arguments_of_the_diagrams(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
