"""Counting works on any module: against torch's own counter, by hand, and by name where it cannot."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from labkit.cost import count

TOKENS = torch.zeros(2, 5, 8)


class Call(nn.Module):
    """A module whose forward is a function."""

    def __init__(self, function, *children):
        super().__init__()
        self.function, self.inner = function, nn.ModuleList(children)

    def forward(self, *args, **kwargs):
        return self.function(*args, *self.inner, **kwargs)


def torchs_count(model, *inputs):
    """Return multiply-adds of one example by torch's counter, which knows products and convolutions only."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model.eval()(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
    return counter.get_total_flops() / 2 / len(inputs[0])


MODULES = {
    "conv1d": (nn.Conv1d(3, 8, 5, stride=2, padding=1, groups=1), torch.zeros(2, 3, 21)),
    "conv3d": (nn.Conv3d(2, 4, 3, dilation=2), torch.zeros(2, 2, 7, 8, 9)),
    "depthwise": (nn.Conv2d(8, 16, 3, groups=8, padding="same"), torch.zeros(2, 8, 9, 9)),
    "transposed 1d": (nn.ConvTranspose1d(4, 6, 3, stride=2), torch.zeros(2, 4, 9)),
    "transposed 2d": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), torch.zeros(2, 4, 5, 5)),
    "rnn cell": (nn.RNNCell(4, 5), torch.zeros(2, 4)),
    "gru cell": (nn.GRUCell(4, 5), torch.zeros(2, 4)),
    "lstm cell": (nn.LSTMCell(4, 5), torch.zeros(2, 4)),
    "encoder": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), TOKENS),
    "encoder, two layers": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False),
        TOKENS,
    ),
    "norms": (nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU(), nn.Softmax(-1)), TOKENS),
    "embedding": (nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 3)), torch.zeros(2, 5, dtype=torch.long)),
    "pools": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)), torch.zeros(2, 1, 9, 9)),
    "lazy": (nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()), torch.zeros(2, 7)),
    "functional linear": (Call(lambda x: functional.linear(x, torch.ones(3, 8), torch.ones(3))), TOKENS),
    "functional convolution": (Call(lambda x: functional.conv1d(x, torch.ones(6, 5, 3))), TOKENS),
    "functional transposed": (Call(lambda x: functional.conv_transpose1d(x, torch.ones(5, 2, 3))), TOKENS),
    "matmul": (Call(lambda x: torch.matmul(x, torch.ones(8, 3))), TOKENS),
    "batched product": (Call(lambda x: x @ x.mT), TOKENS),
    "einsum": (Call(lambda x: torch.einsum("nij,nkj->nik", x, x)), TOKENS),
    "dot product attention": (
        Call(lambda x: functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])),
        TOKENS,
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_against_torchs_own_counter(name):
    model, x = MODULES[name]
    with torch.no_grad():
        model.eval()(x)  # a lazy module takes its shape now
    cost = count(model, x)
    assert cost.macs == torchs_count(model, x) > 0
    assert cost.uncounted == ()
    assert cost.n_params == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("weights", "mask"), [(True, None), (False, None), (True, torch.zeros(5, 5))])
def test_multi_head_attention(weights, mask):
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    model = Call(lambda x, layer: layer(x, x, x, need_weights=weights, attn_mask=mask)[0], attention)
    cost = count(model, TOKENS)
    assert cost.macs == 5 * 8 * 3 * 8 + 2 * (5 * 5 * 8) + 5 * 8 * 8  # in, scores and values, out
    assert cost.uncounted == ()
    assert cost.n_params == sum(p.numel() for p in attention.parameters())


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("settings", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
def test_recurrent_layers_by_hand(kind, settings):
    layer = kind(4, 5, batch_first=True, **settings)
    gates = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}[kind]
    ways = 2 if settings.get("bidirectional") else 1
    per_step = gates * ways * (5 * 4 + 5 * 5)
    if settings.get("num_layers") == 2:
        per_step += gates * ways * (5 * 5 * ways + 5 * 5)
    cost = count(layer, torch.zeros(2, 7, 4), bias=True)
    assert cost.macs == 7 * per_step
    assert cost.operations - cost.macs == 7 * sum(p.numel() for n, p in layer.named_parameters() if "bias" in n)
    assert cost.uncounted == ()


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_recurrent_layers_with_projection_packed_and_time_first():
    layer = nn.LSTM(4, 6, proj_size=3)
    per_step = 4 * 6 * 4 + 4 * 6 * 3 + 3 * 6
    x = torch.zeros(7, 2, 4)  # time comes first, so the batch must be said
    assert count(layer, x, batch_size=2).macs == 7 * per_step
    packed = nn.utils.rnn.pack_padded_sequence(x, [7, 5])
    assert count(layer, (packed,), batch_size=1).macs == (7 + 5) * per_step


def test_bilinear_by_hand():
    cost = count(nn.Bilinear(3, 4, 5), (torch.zeros(2, 3), torch.zeros(2, 4)))
    assert (cost.macs, cost.n_params) == (5 * 3 * (4 + 1), 5 * 3 * 4 + 5)


class Unknown(nn.Module):
    """Multiplies by weights of its own, outside of any known layer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, x):
        return x @ self.weight


class Mixed(Unknown):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(super().forward(x))


def test_products_go_to_the_module_that_does_them():
    rows = {row.name: row for row in count(nn.Sequential(Unknown(), Mixed()), torch.zeros(1, 4)).rows}
    assert {name: (row.macs, row.n_params) for name, row in rows.items()} == {
        "0": (16, 16),
        "1": (16, 16),
        "1.inner": (16, 20),
    }


def test_a_block_without_parameters_gets_a_row_for_each_kind_of_operation():
    model = nn.Sequential(Call(lambda x, layer: layer(x) @ layer(x).mT @ x, nn.Linear(8, 8)))
    cost = count(model, TOKENS)
    assert [(row.name, row.macs, row.calls) for row in cost.rows] == [
        ("0.inner.0", 2 * 5 * 8 * 8, 2),
        ("0:bmm", 2 * 5 * 5 * 8, 2),
    ]


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_sparse_factors_count_with_their_entries():
    entries = torch.eye(4)
    for layout in (entries.to_sparse(), entries.to_sparse_csr()):
        assert count(Call(lambda x, a=layout: (a @ x.T).T), torch.zeros(3, 4)).macs == 4


def test_an_outer_product_counts_and_a_scaling_does_not():
    assert count(Call(lambda x: x[:, :, None] * x[:, None, :]), torch.zeros(3, 4)).macs == 16
    assert count(Call(lambda x: x * torch.ones(1, 4) * 2), torch.zeros(3, 4)).macs == 0


NOT_COUNTED = {
    "fourier transform": (lambda x: torch.fft.rfft(x).abs(), "_fft_r2c"),
    "inverse": (lambda x: torch.linalg.inv(x[:, :4, :4] + torch.eye(4)), "linalg_inv_ex"),
    "numpy": (lambda x: torch.from_numpy(np.tanh(x.numpy())), "numpy"),
    "numpy, by its own hand": (lambda x: torch.as_tensor(np.asarray(x) * 2), "__array__"),
    "complex product": (lambda x: (x.to(torch.complex64) @ x.to(torch.complex64).mT).abs(), "bmm"),
}


@pytest.mark.parametrize("name", NOT_COUNTED)
def test_what_cannot_be_counted_is_named(name):
    function, operation = NOT_COUNTED[name]
    model = nn.Sequential(nn.Linear(8, 8), Call(function))
    model[1].register_parameter("weight", nn.Parameter(torch.ones(3)))
    cost = count(model, TOKENS)
    assert cost.uncounted == ("1",)
    assert operation in cost.rows[1].unknown
    assert (cost.n_params, cost.macs) == (72 + 3, 5 * 64)
    assert f"Not counted: 1 ({operation}" in str(cost)
    assert "uncounted: 1" in repr(cost)
    assert str(cost).splitlines()[2].split()[-1] == "?"


def test_a_loose_operation_that_cannot_be_counted_has_a_row():
    cost = count(Call(lambda x, layer: torch.fft.fft(layer(x)).abs(), nn.Linear(8, 8)), TOKENS)
    assert cost.uncounted == ("Call:_fft_r2c",)


def test_a_layer_may_say_what_it_costs():
    class Compiled(nn.Linear):
        def forward(self, x):
            return torch.from_numpy(x.numpy() @ self.weight.detach().numpy().T)

        def multiply_adds(self, x, y):
            return y.numel()

    cost = count(nn.Sequential(Compiled(8, 4)), TOKENS)
    assert (cost.macs, cost.uncounted) == (5 * 4, ())


def test_batch_norm_is_folded_only_right_after_a_layer():
    x = torch.zeros(2, 3, 8, 8)
    after = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    macs, maps = 6 * 6 * 4 * 27, 6 * 6 * 4
    assert count(after, x).macs == macs
    assert count(after, x, bias=True).operations == macs + maps  # folding leaves a bias behind
    assert count(after, x, batch_norm="counted").macs == macs + maps
    assert count(after, x, batch_norm="counted", convention="flop").operations == 2 * (macs + maps)
    for between in (nn.ReLU(), nn.ReLU(inplace=True)):
        assert count(nn.Sequential(after[0], between, after[1]), x).macs == macs + maps
    before = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3))
    assert count(before, x).macs == macs + 3 * 64
    assert "batch norm" in count(after, x).note
    assert "batch norm" not in count(after[0], x).note


def test_elementwise_operations_are_counted_on_demand():
    layers = {
        nn.LayerNorm(8): 5 * 8,
        nn.RMSNorm(8): 5 * 8,
        nn.GroupNorm(1, 5): 5 * 8,
        nn.InstanceNorm1d(5): 5 * 8,
        nn.AvgPool1d(2): 5 * 4 * 2,
        nn.AdaptiveAvgPool1d(2): 5 * 8,
        Call(lambda x: x.mean(-1)): 5 * 8,
        Call(lambda x: functional.avg_pool1d(x, 4)): 5 * 8,
        Call(lambda x: functional.layer_norm(x, (8,))): 5 * 8,
        nn.Sequential(nn.ReLU(), nn.MaxPool1d(2), nn.Dropout(), nn.Identity()): 0,
    }
    for layer, n in layers.items():
        assert count(layer, TOKENS).operations == 0
        assert count(layer, TOKENS, elementwise=True).operations == n
        assert count(layer, TOKENS, elementwise=True).macs == 0


def test_the_bias_of_a_functional_layer_counts_too():
    for function in (
        lambda x: functional.linear(x[:, 0], torch.ones(8, 8), torch.ones(8)),
        lambda x: functional.conv1d(x, torch.ones(1, 5, 1), torch.ones(1)),
    ):
        assert count(Call(function), TOKENS, bias=True).operations == count(Call(function), TOKENS).macs + 8


def test_bias_of_linear_layers_only():
    model = nn.Sequential(nn.Conv1d(5, 5, 1), nn.Linear(8, 3))
    operations = {bias: count(model, TOKENS, bias=bias).operations for bias in (False, True, "linear")}
    assert operations == {False: 200 + 120, True: 200 + 40 + 120 + 15, "linear": 200 + 120 + 15}


def test_meta_tensors_need_no_memory():
    with torch.device("meta"):
        model, x = nn.Sequential(nn.Conv2d(3, 4096, 3), nn.Flatten(), nn.LazyLinear(10**6)), torch.zeros(1, 3, 64, 64)
        model(x)
    assert count(model, x).n_params > 10**13


def test_arguments_by_name_and_several_inputs():
    model = Call(lambda a, b, layer, scale=1.0: layer(a) + layer(b) * scale, nn.Linear(8, 2))
    model.forward = lambda a, b, scale=1.0: model.inner[0](input=a) + model.inner[0](b) * scale
    assert count(model, {"a": TOKENS, "b": TOKENS}).macs == count(model, (TOKENS, TOKENS)).macs == 2 * 5 * 8 * 2


def test_a_forward_that_recovers_from_an_error_keeps_the_books():
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.wrong, self.right, self.late = nn.Linear(7, 3), nn.Linear(8, 3), nn.Linear(3, 3)

        def forward(self, x):
            try:
                x = self.wrong(x)
            except RuntimeError:
                x = self.right(x)
            return self.late(x) @ torch.ones(3, 3)

    cost = count(Careful(), TOKENS)
    assert {row.name: row.macs for row in cost.rows if row.calls} == {"right": 120, "late": 45, "Careful:mm": 45}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_traced_modules_are_counted_by_their_operations():
    traced = torch.jit.trace(nn.Sequential(nn.Linear(8, 3), nn.ReLU()).eval(), TOKENS)
    assert count(traced, TOKENS).macs == 5 * 8 * 3


def test_a_model_that_cannot_be_run_is_named_with_its_layer():
    model = nn.Sequential(nn.Linear(8, 8), Call(lambda x: 1 / 0))
    with pytest.raises(ValueError, match=r"'1' \(Call\) raised ZeroDivisionError"):
        count(model, TOKENS)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_rows_hold_shapes_elements_and_memory_access():
    cost = count(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU()), torch.zeros(2, 3, 8, 8))
    row = cost.rows[0]
    assert (row.input_shape, row.shape, row.calls) == ((3, 8, 8), (4, 6, 6), 1)
    assert (row.n_inputs, row.n_outputs) == (192, 144)
    assert row.memory_access == 192 + 144 + 108
    assert cost.activations == 2 * 144
    assert cost.peak_activations == 192 + 144
