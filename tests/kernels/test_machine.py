"""The limits of the processor: that they are measured at the level in use and hang together, not how high they are."""

import pytest

from labkit import kernels
from labkit.kernels import dispatch, machine

COMPILED = dispatch.levels()[1:]


@pytest.mark.parametrize("name", COMPILED)
def test_limits_of_each_level(name):
    with dispatch.forced(name):
        limits = kernels.limits()
    assert limits.level == name
    assert limits.words > 0
    assert limits.flops > 0
    assert limits.binary_ops == 128 * limits.words
    assert limits.ratio == limits.binary_ops / limits.flops
    assert repr(limits) == f"Limits(level={name!r})"


@pytest.mark.parametrize("name", COMPILED)
def test_the_loops_do_what_they_count(name):
    """Their sums depend on the number of rounds: the compiler has left nothing out."""
    with dispatch.forced(name):
        level = dispatch.index()
    for run, ctype in ((dispatch.lib.labkit_limit_counts, "uint64_t *"), (dispatch.lib.labkit_limit_fma, "float *")):
        sums = set()
        for rounds in range(1, 6):
            total = dispatch.ffi.new(ctype, 1)
            assert run(level, rounds, total) == rounds * run(level, 1, dispatch.ffi.new(ctype, 1))
            sums.add(total[0])
        assert len(sums) == 5


def test_the_best_run_counts(monkeypatch):
    """Whatever else the processor does can only make a run slower."""
    seconds = iter([1.0, 4.0, 2.0, 0.5, 8.0, 4.0])  # the first one only finds out how long a run must be
    monkeypatch.setattr(machine, "_timed", lambda run, level, rounds, ctype: (rounds, next(seconds)))
    assert machine._best(lambda: None, 0, "float *") == 2000 / 0.5


def test_the_twin_has_no_limits():
    with dispatch.forced("numpy"), pytest.raises(RuntimeError, match="the limits are those of compiled kernels"):
        kernels.limits()
