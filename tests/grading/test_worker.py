"""The student's process: honest notebooks run as they do in Jupyter, and every answer is reproducible plain data."""

import numpy as np
import pytest
import torch

from labkit.grading import isolation, worker
from labkit.grading.errors import StudentError
from labkit.grading.proxy import RemoteObject, SandboxedOracle, Times


@pytest.fixture(scope="module")
def shared():
    with SandboxedOracle(times=Times(cell=5, call=5), preload=("numpy", "torch")) as oracle:
        yield oracle


@pytest.fixture
def run(shared):
    def run(source, name="cell"):
        shared.run(name, source)
        return list(shared.reports.values())[-1]  # a name that is taken gets a stroke

    return run


def test_cells_share_their_names(shared, run):
    assert run("import numpy as np\na = 2").error == ""
    assert run("b = a + np.float64(1)").error == ""
    assert shared.value("b") == 3


@pytest.mark.parametrize(
    "source",
    [
        "%matplotlib inline\nx = 1",
        "%load_ext autoreload\n%autoreload 2\nx = 1",
        "!ls -l\nx = 1",
        "!pip install numpy\nfiles = !ls\nx = 1",
        "%%time\nx = 1",
        "%%capture out\nprint(3)\nx = 1",
        "%time x = 1",
        "x = 1\nlen?",
        "x = 1\nx",
        "from IPython.display import display\ndisplay(3)\nx = 1",
        "display(3)\nx = 1",
        "get_ipython().run_line_magic('matplotlib', 'inline')\nx = 1",
        "import asyncio\nasync def f(): return 1\nx = await f()",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nx = 1",
        "from __future__ import annotations\nx = 1",
        "import warnings\nwarnings.warn('old')\nx = 1",
        "x = 1 if __name__ == '__main__' else 2",
        "from labkit.grading import answered, check, probe, question\ncheck('q1')\nx = 1",
        "from labkit.grading import question\n@question('q1')\ndef _(check, rng):\n    assert False\nx = 1",
        "from labkit.grading import answered\nx = int(answered(len) and not answered(...))",
        "import labkit.grading\nlabkit.grading.check('q1')\nx = 1",
        "import multiprocessing as mp\nwith mp.get_context('fork').Pool(2) as pool:\n    x = pool.map(abs, [-1])[0]",
        "import tempfile\nwith tempfile.NamedTemporaryFile() as f:\n    f.write(b'1')\nx = 1",
        "print('printed', flush=True)\nx = 1",
        "raise_later = 1\nx = 1\nraise ValueError('a failing demonstration does not undo what came before it')",
        "import sys\nx = 1\nsys.exit(0)",
        "x = 1\nraise KeyboardInterrupt",
    ],
)
def test_what_notebooks_contain_is_tolerated(shared, run, source):
    run("x = 0")
    run(source)
    assert shared.value("x") == 1


def test_a_report_tells_how_a_cell_ended(run):
    report = run("def f():\n    return 1 / 0\nprint('before')\nf()", "c7")
    assert report.error == "ZeroDivisionError: division by zero (line 2)"
    assert (report.output, report.printed, report.killed) == ("before\n", 7, False)
    assert run("def broken(:", "c8").error.startswith("SyntaxError: invalid syntax (line 1)")
    assert run("input()", "c9").error.startswith("EOFError")


def test_output_is_kept_up_to_a_limit_and_counted(run):
    report = run("for _ in range(100): print('x' * 1_000_000)")
    assert report.error == ""
    assert len(report.output) == worker.OUTPUT
    assert report.printed == 100_000_100


def test_source_can_be_read_and_classes_belong_to_main(shared, run):
    run("import inspect, dataclasses, pickle\n@dataclasses.dataclass\nclass P:\n    x: int = 1\ndef f():\n    return 5")
    run("source, copy, home = inspect.getsource(f), pickle.loads(pickle.dumps(P(2))).x, P.__module__")
    assert shared.value("source") == "def f():\n    return 5\n"
    assert (shared.value("copy"), shared.value("home")) == (2, "__main__")


def test_calls_take_and_give_every_kind_of_plain_data(shared, run):
    run("def same(*args, **kwargs): return args, kwargs")
    args = (None, True, 2**80, 0.5, 1j, "ä\ud800", b"x", [1, (2,)], {1: "a"}, {3}, np.arange(4), torch.ones(2))
    back, kwargs = shared.call("same", args, {"key": np.float32(2)})
    assert back[:10] == args[:10]
    np.testing.assert_array_equal(back[10], args[10])
    assert torch.equal(back[11], args[11])
    assert (type(kwargs["key"]), kwargs["key"]) == (np.float32, 2)


def test_changed_arguments_are_reported_and_ours_stay_whole(shared, run):
    run("def change(x, *, items):\n    x *= 2\n    items.append(1)\n    return 3\ndef leave(x, *, items): return 3")
    x, items = np.ones(3), []
    changed = shared.outcome("change", (x,), {"items": items})
    assert (changed.value, changed.mutated, changed.kwargs) == (3, True, {"items": [1]})
    np.testing.assert_array_equal(changed.args[0], 2 * x)
    assert x.tolist() == [1, 1, 1]
    assert items == []
    assert not shared.outcome("leave", (x,), {"items": items}).mutated


def test_objects_stay_in_the_worker_and_are_probed(shared, run):
    run("import torch\ndef build(n): return torch.nn.Linear(n, 2)\ndef adder(k): return lambda x: x + k")
    layer, add = shared.call("build", (3,)), shared.call("adder", (5,))
    assert isinstance(layer, RemoteObject)
    assert (layer.type_name, layer.ref.is_callable) == ("Linear", True)
    assert add(2) == 7
    assert layer(torch.ones(1, 3)).shape == (1, 2)
    shapes = "def shapes(layer, key):\n    return {key: [tuple(p.shape) for p in layer.parameters()]}"
    assert layer.probe(shapes, "shapes", "s") == {"s": [(2, 3), (2,)]}
    assert not shared.outcome(layer, (torch.ones(1, 3),)).mutated
    same = shared.probe("def same(a, b): return a is b", "same", (layer, layer))
    assert same is True


def test_probes_see_a_copy_of_the_names(shared, run):
    run("secret = 3")
    probe = "def look():\n    global secret\n    secret += 1\n    return secret"
    assert [shared.probe(probe, "look"), shared.value("secret")] == [4, 3]
    with pytest.raises(StudentError, match="NameError"):
        shared.probe("def look(): return missing", "look")


def test_errors_arrive_as_text(shared, run):
    run("def bad(x):\n    raise ValueError('no ' + str(x))\nnumber = 3")
    for name, words in [("bad", r"ValueError: no 1 \(line 2\)"), ("number", "TypeError"), ("nothing", "not defined")]:
        with pytest.raises(StudentError, match=words):
            shared.call(name, (1,))
    with pytest.raises(StudentError, match="TypeError"):
        shared.call("bad", (1, 2, 3))


DRAWS = """
import random, numpy as np, torch
def draws():
    new = np.random.default_rng().random(2).tolist()
    return [random.random(), *np.random.rand(2), *torch.rand(2).tolist(), *new, *set("abcdef")]
"""


def test_random_numbers_are_the_same_in_every_run():
    results = []
    for seed in (1, 1, 2):
        with SandboxedOracle(seed=seed, preload=("torch",)) as oracle:
            oracle.run("c", DRAWS)
            results.append([oracle.call("draws"), oracle.call("draws")])
    assert results[0] == results[1]
    assert results[0] != results[2]
    assert results[0][0] != results[0][1]  # one call is not like the next
    assert results[0][0][-6:] == results[0][1][-6:]


def test_the_time_limit_stops_python_code_without_losing_the_process(run, shared):
    shared.run("before", "kept = 5")
    shared.times = Times(cell=0.3, call=0.3)
    try:
        report = run("y = 1\nwhile True:\n    try:\n        pass\n    except Exception:\n        pass")
        assert report.error.startswith("TimeIsUp: longer than 0.3 seconds")
        assert report.timed_out
        run("def spin():\n    while True: pass")
        with pytest.raises(StudentError, match="TimeIsUp"):
            shared.call("spin")
    finally:
        shared.times = Times(cell=5, call=5)
    assert (shared.value("kept"), shared.value("y"), shared.restarts) == (5, 1, 0)


@pytest.mark.parametrize(
    ("source", "binds", "uses"),
    [
        ("a = b", ["a"], ["b"]),
        ("import x.y as z, p.q", ["p", "z"], []),
        ("def f(n): return g(n)", ["f"], ["g"]),
        ("def f():\n    W = a\n    return [b for b in W]", ["f"], ["a"]),
        ("def f():\n    global k\n    k = 1", ["f", "k"], []),
        ("class C(B):\n    x = y\n    def m(self): return self.x + z", ["C"], ["B", "y", "z"]),
        ("from m import *\nimport numpy as np", ["*", "np"], []),
        ("a += 1\nc = [d for d in e if (g := d)]\n@h\ndef f(): pass", ["a", "c", "f", "g"], ["a", "e", "h"]),
        ("x = await y\nfor i in r: pass\nwith o as q: del q", ["i", "q", "x"], ["o", "r", "y"]),
        ("not python (", [], []),
        ("(" * 500, [], []),
        ("a = '\\0\0'", [], []),
    ],
)
def test_names_of_a_cell(source, binds, uses):
    assert worker.names_in(source) == (binds, uses)


class RudeError(Exception):
    def __str__(self):
        while True:
            pass


class RaisingError(Exception):
    def __str__(self):
        raise SystemExit


def test_exceptions_are_explained_whatever_their_methods_do():
    for error in (RudeError(), RaisingError()):
        assert worker.explained(error)["message"] == "(the message cannot be read)"
    assert worker.explained(ValueError("x" * 10_000))["message"] == "x" * worker.TEXT
    assert worker.explained(ValueError("\ud800"))["message"] == "\ud800"


def test_output_refuses_what_is_not_text():
    with pytest.raises(TypeError, match="must be str"):
        worker.Output().write(b"bytes")


def test_limits_are_set_inside(shared):
    source = "import resource\ndef limits(): return [resource.getrlimit(getattr(resource, n))[1] for n in names]"
    shared.run("limits", source)
    expected = shared.sandbox.rlimits()
    shared.run("names", f"names = {list(expected)}")
    assert shared.call("limits") == list(expected.values())
    assert isolation.Resources().as_rlimits().keys() == expected.keys()
