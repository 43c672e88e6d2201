"""The oracle against hostile code: whatever a submission does, the other answers stay reachable and nothing is left."""

import builtins
import contextlib
import inspect
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from labkit.grading import isolation, proxy, wire
from labkit.grading.errors import StudentError
from labkit.grading.isolation import LIMITS_ONLY, Resources, Sandbox
from labkit.grading.proxy import CellReport, OutOfTime, RemoteObject, SandboxedOracle, SandboxError, Times, WorkerDied

ROOT = Path(__file__).resolve().parents[2]
SMALL = Resources(memory=1 << 30, processes=40, disk=8 << 20, shm=8 << 20, cpu_seconds=60)
FAST = Times(cell=1, call=1, cells=60, question=60, grace=0.5)
FORGE_NAMES = "sys.modules['labkit.grading.worker'].names_in = lambda source: ([], [])"
GOOD = "def double(x): return 2 * x"
MANY = """
import os, time
for _ in range(6):
    if not os.fork():
        x = b"x" * (400 << 20)
        time.sleep(60)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def rung():
    best = isolation.probe()
    if not best.for_strangers:
        pytest.skip(f"hostile code is not run on this machine: it offers {best.name}")
    return best


@pytest.fixture
def own_temp(monkeypatch):
    """Give the test a temporary folder that no other program uses."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)
        monkeypatch.undo()


@pytest.fixture
def oracle(rung, own_temp):
    with SandboxedOracle(Sandbox(rung, SMALL), times=FAST, preload=()) as oracle:
        oracle.run("good", GOOD)
        yield oracle
        oracle.close()
        assert oracle.clean, "a process was left behind"


# what a cell may do, and a part of the error that is reported for it (None: no error)
CELLS = {
    "endless loop": ("while True: pass", "TimeIsUp"),
    "endless loop that catches everything": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "",
    ),
    "ignores the alarm": (
        "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass",
        "no answer in time",
    ),
    "endless call in C": ("sum(iter(int, 1))", "no answer in time"),
    "sleeps": ("import time; time.sleep(600)", "TimeIsUp"),
    "os._exit": ("import os; os._exit(0)", "ended"),
    "sys.exit": ("import sys; sys.exit()", "SystemExit"),
    "abort": ("import os; os.abort()", "ended"),
    "crash": ("import ctypes; ctypes.string_at(0)", "ended"),
    "kills itself": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended"),
    "kills its parent": ("import os\nfor pid in (os.getppid(), 1):\n    os.kill(pid, 9)", ""),
    "kills everything": ("import os\nos.kill(-1, 9)", ""),
    "traces its parent": (
        "import ctypes, os\nassert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == -1 or os.getppid() == 1",
        "",
    ),
    "closes every descriptor": ("import os; os.closerange(0, 200)", "ended"),
    "fork bomb": ("import os\nwhile True: os.fork()", ""),
    "threads that never end": (
        "import threading\nfor _ in range(5):\n    threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()",
        "",
    ),
    "too many threads": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
        "RuntimeError",
    ),
    "memory bomb": ("x = bytearray(4 << 30)", "MemoryError"),
    "slow memory bomb": ("x = []\nwhile True: x.append(bytearray(1 << 24))", ""),
    "memory of many processes": (MANY, ""),
    "fills the disk": ("with open('/tmp/x', 'wb') as f:\n    while True: f.write(bytes(1 << 20))", "OSError"),
    "fills shared memory": (
        "import itertools\nfor i in itertools.count():\n    open(f'/dev/shm/{i}', 'wb').write(bytes(1 << 20))",
        "OSError",
    ),
    "opens too many files": ("x = [open('/dev/null') for _ in range(10_000)]", "OSError"),
    "floods the output": ("while True: print('x' * 100_000)", "TimeIsUp"),
    "floods descriptors 1 and 2": (
        "import os\nfor _ in range(2000): os.write(1, b'x' * 100_000), os.write(2, b'x')",
        None,
    ),
    "recursion": ("def f(): return f()\nf()", "RecursionError"),
    "deep recursion": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f([x])\nf(0)",
        "",
    ),
    "nested source": ("x = " + "(" * 5000, "SyntaxError"),
    "source that is not text": ("x = '\ud800\0'", ""),
    "surrogates in an exception": ("raise ValueError('\\ud800\\udfff\\x1b[31m')", "\\ud800\\udfff\\x1b[31m"),
    "surrogates in the name of an exception": (
        "raise type('\\udcff', (Exception,), {})('x')",
        "surrogates not allowed",
    ),
    "an exception that cannot be printed": (
        "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
        "cannot be read",
    ),
    "an exception that loops": (
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
        "cannot be read",
    ),
    "an exception that lies": (
        "class T(str):\n    def __getitem__(self, i): return 7\nclass E(Exception):\n"
        "    def __str__(self): return T('x')\nraise E",
        "E:",
    ),
    "a huge exception": ("raise ValueError('x' * 10**8)", "xxx"),
    "reads the passwords": ("open('/etc/shadow').read()", "Error"),
    "reads the labs": (f"import os; os.listdir({str(ROOT / 'labs')!r})", "Error"),
    "reads the tests": (f"open({str(ROOT / 'tests' / 'grading' / 'test_proxy.py')!r}).read()", "Error"),
    "reads the environment": ("import os; assert 'LABKIT_SECRET' not in os.environ", None),
    "reads the environment of others": (
        "import os\nfor p in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try: text = open(f'/proc/{p}/environ').read()\n    except OSError: text = ''\n"
        "    assert 'LABKIT_SECRET' not in text",
        None,
    ),
    "reads the command lines of others": (
        "import os\nassert not any('pytest' in open(f'/proc/{p}/cmdline').read()"
        " for p in os.listdir('/proc') if p.isdigit())",
        None,
    ),
    "connects": ("import socket; socket.create_connection(('192.0.2.1', 80), 0.5)", "Error"),
    "asks for a name": ("import socket; socket.getaddrinfo('example.org', 80)", "gaierror"),
    "changes labkit": ("import labkit; open(labkit.__file__, 'a').write('x')", "Error"),
    "garbage on the channel": (
        "import os\nfor fd in range(3, 50):\n    try: os.write(fd, b'garbage' * 100)\n    except OSError: pass",
        "broke the channel",
    ),
    "a huge frame": (
        "import os\nfrom labkit.grading import wire\nfor fd in range(3, 50):\n"
        "    try: os.write(fd, wire.HEADER.pack(wire.MAGIC, 3, 2**62))\n    except OSError: pass",
        "broke the channel",
    ),
    "steals requests": (
        "import threading, socket, os\n"
        "def steal(fd):\n    s = socket.socket(fileno=os.dup(fd))\n    while s.recv(10**6): pass\n"
        "for fd in range(3, 50):\n    threading.Thread(target=steal, args=(fd,)).start()",
        "",
    ),
    "breaks builtins": (
        "import builtins\nbuiltins.isinstance = builtins.len = builtins.type = builtins.getattr = lambda *a: 1/0",
        "",
    ),
    "breaks the codec": (
        "import sys, gc\nwire = sys.modules['labkit.grading.wire']\nwire.encode = lambda *a, **k: b'N'\n"
        "wire.decode = lambda *a, **k: {}",
        "",
    ),
    "patches numpy": (
        "import numpy as np\nnp.allclose = np.array_equal = lambda *a, **k: True\nnp.ndarray = list\n"
        "np.testing.assert_allclose = np.asarray = None",
        None,
    ),
    "replaces its modules": ("import sys\nsys.modules.clear()", ""),
    "dies later": ("import threading, os\nthreading.Timer(0.2, os._exit, [1]).start()", None),
    "asks to be traced": ("import sys\nsys.settrace(lambda *a: 1/0)\nsys.setprofile(lambda *a: 1/0)", ""),
    "exits with its threads": ("import threading, os\nthreading.Thread(target=os._exit, args=(0,)).start()", ""),
    "leaves a daemon": (
        "import os, time, signal\nif not os.fork():\n    os.setsid()\n    if not os.fork():\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n        open('/tmp/left-behind', 'w')\n"
        "        time.sleep(600)\n    os._exit(0)",
        None,
    ),
}


@pytest.mark.parametrize(("source", "error"), CELLS.values(), ids=CELLS)
def test_a_bad_cell_costs_no_other_answer(oracle, own_temp, source, error, monkeypatch):
    monkeypatch.setenv("LABKIT_SECRET", "secret")
    said = oracle.run("bad", source)
    said.encode()  # whatever it is, it can be written to a report
    if error is None:
        assert said == ""
    elif error:
        assert error in said
    with contextlib.suppress(StudentError):  # its own process may be spoilt
        assert oracle.call("double", (21,)) == 42
    with oracle.alone(["double"]) as alone:  # the cells that the answer needs are not
        assert alone.call("double", (21,)) == 42
    assert alone.clean
    oracle.close()
    assert not list(own_temp.iterdir())
    assert not Path("/tmp/left-behind").exists()


def test_many_processes_share_one_limit_of_memory(rung):
    with SandboxedOracle(Sandbox(rung, SMALL), times=Times(cell=30), preload=()) as oracle:
        assert "more memory than allowed" in oracle.run("bad", MANY)


@pytest.mark.parametrize(
    "name",
    [
        "endless loop that catches everything",
        "os._exit",
        "crash",
        "closes every descriptor",
        "fork bomb",
        "memory of many processes",
        "garbage on the channel",
    ],
)
def test_the_cell_that_kills_the_process_is_left_out_of_the_replay(oracle, name):
    oracle.run("bad", CELLS[name][0])
    oracle.run("later", "def triple(x): return double(x) + x")
    assert oracle.call("triple", (2,)) == 6
    assert oracle.restarts <= 2


# what a function may do when it is called; a part of the error
CALLS = {
    "endless loop": ("while True: pass", "TimeIsUp"),
    "exits": ("import os; os._exit(1)", "ended"),
    "raises SystemExit": ("raise SystemExit(0)", "SystemExit"),
    "raises GeneratorExit": ("raise GeneratorExit", "GeneratorExit"),
    "recursion": ("return f()", "RecursionError"),
    "deep result": ("x = []\n    for _ in range(10**5): x = [x]\n    return x", "nested"),
    "result in a circle": ("x = []\n    x.append(x)\n    return x", "nested"),
    "long result": ("return [0] * 10**7", "values"),
    "large array": ("import numpy as np\n    return np.zeros(10**9 // 4, np.uint8)", "bytes"),
    "large text": ("return 'x' * (200 << 20)", "bytes"),
    "large number": ("return 1 << 10**6", "int"),
    "many keys": ("return dict.fromkeys(range(10**5))", "entries"),
    "fork bomb": ("import os\n    while True: os.fork()", "BlockingIOError|ended|in time|TimeIsUp"),
    "a value whose type lies": (
        "class T(type):\n        __name__ = property(lambda s: 1/0)\n    return T('x', (), {})()",
        "",
    ),
}


@pytest.mark.parametrize(("body", "error"), CALLS.values(), ids=CALLS)
def test_a_bad_call_is_a_student_error_and_costs_no_other_answer(oracle, body, error):
    oracle.run("bad", f"def f():\n    {body}")
    if error:
        with pytest.raises(StudentError, match=error):
            oracle.call("f")
    else:
        assert isinstance(oracle.call("f"), RemoteObject)
    assert oracle.call("double", (21,)) == 42


LIARS = """
import numpy as np
class Text(str):
    __eq__ = lambda a, b: True
    __hash__ = str.__hash__
class Array(np.ndarray):
    __eq__ = __le__ = __ge__ = lambda a, b: np.array(True)
    def __array_function__(self, *a, **k): return True
class Number(float):
    __eq__ = __le__ = __lt__ = lambda a, b: True
    __hash__ = float.__hash__
    __sub__ = __rsub__ = __abs__ = lambda *a: 0.0
class Anything:
    __class__ = property(lambda self: float)
    __eq__ = lambda a, b: True
    __array__ = lambda self, *a, **k: np.zeros(3)
    __float__ = lambda self: 0.0
def text(): return Text("wrong")
def array(): return np.ones(3).view(Array)
def number(): return Number(3.0)
def anything(): return Anything()
"""


def test_values_that_lie_arrive_as_what_they_hold(oracle):
    oracle.run("liars", LIARS)
    text, array, number, anything = (oracle.call(name) for name in ("text", "array", "number", "anything"))
    assert (type(text), text) == (str, "wrong")
    assert (type(array), array.tolist()) == (np.ndarray, [1, 1, 1])
    assert (type(number), number) == (float, 3.0)
    assert type(anything) is RemoteObject
    for compare in (bool, lambda x: x == 0.0, lambda x: x != 0.0):
        with pytest.raises(StudentError, match="plain data was expected"):
            compare(anything)
    with pytest.raises((TypeError, StudentError)):
        np.testing.assert_allclose(anything, np.zeros(3))


FORGE = """
import os
from labkit.grading import wire
def forge(value):
    frame = wire.encode({"value": wire.encode(value), "seconds": -1e300, "output": 7, "after": "no"})
    for fd in range(3, 50):
        try:
            for number in range(1, 60):
                os.write(fd, wire.HEADER.pack(wire.MAGIC, number, len(frame)) + frame)
        except OSError:
            pass
forge(42)
"""


def test_a_forged_answer_is_only_an_answer(oracle):
    assert oracle.run("bad", FORGE) == ""
    value = oracle.outcome("double", (4,))  # the submission says 42: its own word, wrong, and no more than that
    assert (value.value, value.seconds, value.output, value.args) == (42, 0.0, "", ())
    with oracle.alone(["double"]) as alone:
        assert alone.call("double", (4,)) == 8


REPLIES = [
    None,
    [],
    7,
    {},
    {"value": 3},
    {"value": b"?"},
    {"error": 5},
    {"error": {"type": 1, "message": [], "line": "x"}},
]


@pytest.mark.parametrize("reply", REPLIES, ids=str)
def test_answers_of_any_form_are_student_errors(reply):
    oracle = SandboxedOracle(Sandbox(LIMITS_ONLY))
    if isinstance(reply, dict):
        with pytest.raises(StudentError):
            oracle.result(reply)
    else:
        connection = object.__new__(proxy.Connection)
        connection.number = 0

        class Channel:
            send = staticmethod(lambda *_, **__: None)
            receive = staticmethod(lambda **_: (1, wire.encode(reply)))

        connection.channel = Channel()
        with pytest.raises(WorkerDied):
            connection.ask({}, 1)


def test_what_a_submission_patches_stays_in_its_process(oracle):
    for name in ("patches numpy", "breaks builtins"):
        oracle.run(name, CELLS[name][0])
    assert not np.allclose(1, 2)
    assert builtins.len("ab") == 2


def test_the_cells_have_a_budget(rung):
    with SandboxedOracle(Sandbox(rung, SMALL), times=Times(cell=30, call=30, cells=1.5), preload=()) as oracle:
        assert "TimeIsUp" in oracle.run("c1", "while True: pass")
        assert "used up" in oracle.run("c2", GOOD)
        oracle.allot("q1")
        assert oracle.call("double", (21,)) == 42


def test_a_question_cannot_use_up_the_time_of_another(rung):
    with SandboxedOracle(Sandbox(rung, SMALL), times=Times(call=30, question=2), preload=()) as oracle:
        oracle.run("c1", f"{GOOD}\ndef wait():\n    while True: pass")
        oracle.allot("q1")
        with pytest.raises(StudentError, match="TimeIsUp"):
            oracle.call("wait")
        with pytest.raises(OutOfTime, match="the checks of q1"):
            oracle.call("double", (1,))
        oracle.allot("q2")
        assert oracle.call("double", (21,)) == 42


def test_a_function_that_never_ends_gets_less_time_each_time(rung):
    with SandboxedOracle(Sandbox(rung, SMALL), times=Times(call=0.8), preload=()) as oracle:
        oracle.run("c1", "def wait():\n    while True: pass")
        seconds = []
        for _ in range(4):
            with pytest.raises(StudentError, match=r"longer than (.*) seconds") as caught:
                oracle.call("wait")
            seconds.append(float(str(caught.value).split()[3]))
    assert seconds == [0.8, 0.4, 0.2, 0.2]


def test_what_other_cells_broke_is_whole_alone(rung):
    with SandboxedOracle(Sandbox(rung, SMALL), times=FAST, preload=("numpy",)) as oracle:
        oracle.run("c1", "import numpy as np\nfrom math import sqrt")
        oracle.run("c2", "import numpy as np\nnp.linalg.norm = None\nimport sys\n" + FORGE_NAMES)
        oracle.run("c3", "half = 0.5")
        oracle.run("c4", "def root(A):\n    return half * sqrt(np.linalg.norm(A))")
        with pytest.raises(StudentError):
            oracle.call("root", ([16.0],))
        with oracle.alone(["root"], [("c0", "import numpy as np")]) as alone:
            assert list(alone.reports) == ["c0", "c1", "c3", "c4"]
            assert alone.call("root", ([16.0],)) == 2


def test_a_crowd_of_processes_gives_way_to_others(oracle):
    oracle.run("c1", "import os\nfor _ in range(8):\n    if os.fork() == 0:\n        while True: pass")
    tree = oracle.connection.process.tree()
    oracle.run("c2", "import time; time.sleep(0.7)")  # the trusted side looks four times a second
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in tree} == {19}
    assert oracle.call("double", (21,)) == 42


def test_stand_ins_look_like_the_functions(oracle):
    oracle.run(
        "f", "def f(a, b=2, *rest, c, d=4, **more):\n    a.append(1)\n    return [a, b, rest, c, d, more]\nnumber = 3"
    )
    f = oracle.function("f")
    assert f.__name__ == "f"
    assert str(inspect.signature(f)) == "(a, b=Ellipsis, *rest, c, d=Ellipsis, **more)"
    mine = [0]
    assert f(mine, c=3, e=5) == [[0, 1], 2, (), 3, 4, {"e": 5}]
    assert (f.last.mutated, f.last.args, mine) == (True, ([0, 1],), [0])
    assert "student" in repr(f)
    for name in ("number", "missing"):
        with pytest.raises(StudentError):
            oracle.function(name)


@pytest.mark.parametrize(
    "parameters",
    [None, 3, {}, [1], [["a"]], [["1a", 1, False]], [["a", 9, False]], [["a", 1, False]] * 2, [[[], 1, 1]]],
    ids=str,
)
def test_a_signature_of_any_form_is_harmless(parameters):
    assert proxy.signature(parameters) is None


def test_objects_end_with_their_process(oracle):
    oracle.run(
        "o", "class Thing: pass\ndef make(): return Thing()\ndef die(): import os; os._exit(1)\ndef same(x): return x"
    )
    thing = oracle.call("make")
    assert oracle.call("same", (thing,)).ref == thing.ref
    with pytest.raises(WorkerDied):
        oracle.call("die")
    with pytest.raises(StudentError, match="Thing is gone"):
        oracle.call("same", (thing,))
    assert oracle.call("make").type_name == "Thing"


def test_only_the_needed_cells_run_alone():
    reports = [
        CellReport("c1", "", binds=("np",)),
        CellReport("c2", "", binds=("broken",), uses=("np",)),
        CellReport("c3", "", binds=("helper",), uses=("np",)),
        CellReport("c4", "", binds=("answer",), uses=("helper", "len")),
        CellReport("c5", "", uses=("answer",)),
    ]
    assert [report.id for report in proxy.needed(reports, ["answer"])] == ["c1", "c3", "c4"]
    assert [report.id for report in proxy.needed(reports, ["answer"], reports[:1])] == ["c3", "c4"]
    assert proxy.needed(reports, ["nothing"]) == []
    star = CellReport("c6", "", binds=("*",))
    assert [report.id for report in proxy.needed([star, *reports], ["answer"], reports[:1])] == ["c6", "c3", "c4"]


def test_a_sandbox_that_does_not_work_is_not_the_students_fault(monkeypatch):
    monkeypatch.setattr(Sandbox, "wrap", lambda self, command: ["false"])
    with pytest.raises(SandboxError, match="did not start"), SandboxedOracle(Sandbox(LIMITS_ONLY)) as oracle:
        oracle.run("c1", GOOD)


def test_too_little_time_for_a_start_is_the_students_fault(rung):
    """A submission that used up its time must not look like a fault of the grader's own."""
    with SandboxedOracle(Sandbox(rung, SMALL), times=Times(question=0.01), preload=()) as oracle:
        oracle.run("c1", GOOD)
        oracle.close()
        oracle.allot("q1")
        with pytest.raises(OutOfTime, match="the checks of q1 used up"):
            oracle.call("double", (1,))
        oracle.allot("")
        assert oracle.value("double").type_name == "function"


def test_arguments_that_are_not_plain_data_are_the_checks_own_mistake(oracle):
    with pytest.raises(wire.WireError, match="not plain data"):
        oracle.call("double", (object(),))
    assert oracle.call("double", (21,)) == 42
