"""Knowledge transfer: the parts of the objective, by hand and by torch."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from labkit.decomposition import LowRankLinear, lrdkt, softened
from labkit.decomposition.transfer import features
from labkit.training import fit


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.fixture
def student(teacher):
    made = copy.deepcopy(teacher)
    made[0] = LowRankLinear.from_linear(teacher[0], rank=2)
    return made


X, Y = torch.randn(8, 6, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 3


def test_the_objective_is_the_sum_of_its_three_parts(teacher, student):
    mine, theirs = student[0](X), teacher[0](X)
    local = ((mine - theirs).norm() / theirs.norm()) ** 2
    p, q = (functional.softmax(net(X) / 3, dim=1) for net in (teacher, student))
    far = 9 * (p * (p / q).log()).sum(1).mean()
    expected = functional.cross_entropy(student(X), Y) + 0.5 * local + 0.25 * far
    objective = lrdkt(teacher, ["0"], local_weight=0.5, global_weight=0.25, temperature=3.0)
    torch.testing.assert_close(objective(student, X, Y), expected)


def test_without_transfer_it_is_the_cross_entropy(teacher, student):
    objective = lrdkt(teacher, ["0"], local_weight=0, global_weight=0)
    torch.testing.assert_close(objective(student, X, Y), functional.cross_entropy(student(X), Y))


def test_several_blocks_count_alike(teacher, student):
    far_off = lrdkt(teacher, ["0", "2"], global_weight=0)(student, X, Y) - functional.cross_entropy(student(X), Y)
    each = [((a - b).norm() / b.norm()) ** 2 for a, b in ((student[0](X), teacher[0](X)), (student(X), teacher(X)))]
    torch.testing.assert_close(far_off, sum(each) / 2)


def test_gradients_reach_the_student_and_not_the_teacher(teacher, student):
    before = copy.deepcopy(teacher.state_dict())
    teacher.train()
    lrdkt(teacher, ["0"])(student, X, Y).backward()
    assert all(p.grad is not None for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    assert teacher.training
    assert all(torch.equal(a, b) for a, b in zip(before.values(), teacher.state_dict().values(), strict=True))


def test_hooks_are_removed_also_after_an_error(teacher, student):
    objective = lrdkt(teacher, ["0"])
    objective(student, X, Y)
    with pytest.raises(RuntimeError):
        objective(student, X[:, :2], Y)
    assert not any(module._forward_hooks for net in (teacher, student) for module in net.modules())


def test_fit_brings_the_block_nearer_to_the_teachers(teacher, student):
    def distance():
        return (student[0](X) - teacher[0](X)).norm().item()

    before = distance()
    torch.nn.init.normal_(student[0].first.weight)
    assert distance() > before
    objective = lrdkt(teacher, ["0"], local_weight=10.0, global_weight=0.0)
    fit(
        student,
        (X, Y),
        epochs=60,
        batch_size=8,
        learning_rate=0.05,
        objective=objective,
        random_state=0,
        progress=False,
    )
    assert distance() < 2 * before


def test_softened_answers_by_torch():
    z, goal = torch.randn(2, 9, 4)
    expected = 4 * functional.kl_div((z / 2).log_softmax(1), (goal / 2).softmax(1), reduction="batchmean")
    torch.testing.assert_close(softened(z, goal, temperature=2.0), expected)
    assert softened(z, z, temperature=5.0).item() == pytest.approx(0, abs=1e-6)
    assert softened(z, goal, temperature=2.0) > 0


@pytest.mark.parametrize(
    ("layers", "given", "message"),
    [
        ([], {}, "layers must be a list of at least one layer name"),
        ("0", {}, "layers must be a list of at least one layer name"),
        (["9"], {}, "layers must be one of"),
        (["0"], {"local_weight": -1}, "local_weight must be at least 0"),
        (["0"], {"global_weight": float("nan")}, "global_weight must be at least 0"),
        (["0"], {"temperature": 0}, "temperature must be above 0"),
    ],
)
def test_bad_arguments_are_refused(teacher, layers, given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        lrdkt(teacher, layers, **given)


def test_networks_that_do_not_fit_are_refused(teacher):
    with pytest.raises(TypeError, match="teacher must be Module"):
        lrdkt(X, ["0"])
    with pytest.raises(ValueError, match="layers must be one of"):
        lrdkt(teacher, ["2"])(nn.Sequential(nn.Linear(6, 3)), X, Y)
    narrow = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"layers\['0'\] must give equal shapes, got \(8, 4\) and \(8, 5\)"):
        lrdkt(teacher, ["0"])(narrow, X, Y)
    with pytest.raises(ValueError, match="scores and goal must have one shape"):
        softened(torch.ones(2, 3), torch.ones(2, 4), temperature=1.0)
    with pytest.raises(ValueError, match="layers must be one of"), features(teacher, ["7"]):
        pass
