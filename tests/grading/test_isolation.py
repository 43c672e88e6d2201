"""The ladder: each rung that this machine offers keeps its promises; the others are skipped with the reason."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from labkit import paths
from labkit.grading import isolation
from labkit.grading.isolation import BUBBLEWRAP, LIMITS_ONLY, NAMESPACES, OTHER_USER, RUNGS, Resources, Sandbox

ROOT = Path(__file__).resolve().parents[2]
CLOSED = (BUBBLEWRAP, NAMESPACES)
rungs = pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
closed = pytest.mark.parametrize("rung", CLOSED, ids=lambda rung: rung.name)


def need(rung):
    if reason := isolation.why_not(rung):
        pytest.skip(f"no {rung.name} on this machine: {reason}")


def run(rung, program, *args, seconds=20, **options):
    """Run a Python program in a sandbox; return what it printed to the inherited descriptor OUT, and the clean-up."""
    need(rung)
    reader, writer = os.pipe()
    head = f"import os, sys, json\ntell = lambda value: os.write({writer}, json.dumps(value).encode())\n"
    process = Sandbox(rung, **options).start([sys.executable, "-c", head + program, *args], pass_fds=[writer])
    os.close(writer)
    deadline = time.monotonic() + seconds
    while process.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    clean = process.kill()
    with open(reader, "rb") as file:
        told = file.read()
    return json.loads(told) if told else None, clean


@rungs
def test_the_interpreter_and_labkit_work_inside(rung):
    told, clean = run(rung, "import numpy, labkit; tell([sys.version, labkit.__file__])")
    assert told == [sys.version, str(ROOT / "labkit" / "__init__.py")]
    assert clean


@rungs
def test_the_environment_is_scrubbed_and_only_the_channel_is_inherited(rung, monkeypatch):
    monkeypatch.setenv("COURSE_KEY", "secret")
    with tempfile.TemporaryFile() as other:
        os.set_inheritable(other.fileno(), True)
        program = "tell([dict(os.environ), sorted(map(int, os.listdir('/proc/self/fd')))])"
        (environment, descriptors), _ = run(rung, program)
    assert "secret" not in environment.values()
    assert set(environment) <= {*isolation.environment("/tmp"), "PWD", "LC_CTYPE", "SHLVL", "_", "OLDPWD"}
    assert len(descriptors) <= 5  # three standard ones, the channel, and the listing itself


SEES = """
def sees(path):
    try:
        return bool(os.listdir(path)) if os.path.isdir(path) else bool(open(path, "rb").read(1))
    except OSError:
        return False
tell([path for path in sys.argv[1:] if sees(path)])
"""


@closed
def test_nothing_of_the_machine_is_in_sight(rung, tmp_path):
    (tmp_path / "solution.ipynb").write_text("{}")
    secrets = [tmp_path, "/etc/shadow", "/etc/passwd", "/var", "/boot", "/run", ROOT / "labs", ROOT / "tests"]
    secrets += [
        ROOT / "book",
        ROOT / ".git",
        ROOT / "pyproject.toml",
        Path.home() / ".bash_history",
        "/proc/1/root/var",
    ]
    assert run(rung, SEES, *map(str, secrets)) == ([], True)


@closed
def test_the_data_of_a_lab_can_be_read_and_nothing_can_be_changed(rung, tmp_path):
    (tmp_path / "table.csv").write_text("1")
    tmp_path.chmod(0o755)  # pytest's folders are private
    program = (
        SEES.replace("tell(", "found = (")
        + """
def writes(path):
    try:
        return bool(open(os.path.join(path, "x"), "w"))
    except OSError:
        return False
tell([len(found), [p for p in ["/", "/dev", "/usr", "/etc", "/sys", sys.prefix, *sys.argv[1:]] if writes(p)]])
"""
    )
    told, _ = run(rung, program, str(tmp_path), read_only=(*isolation.DATA, tmp_path))
    assert told == [1, []]
    assert os.listdir(tmp_path) == ["table.csv"]


@closed
def test_there_is_no_network_and_no_other_process(rung):
    program = """
import socket
def fails(kind, address):
    try:
        with socket.socket(*kind) as s:
            s.settimeout(0.2)
            s.connect(address)
    except OSError:
        return True
udp, tcp = (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_STREAM)
answers = [fails(tcp, ("192.0.2.1", 80)), fails(udp, ("192.0.2.1", 53)), fails(tcp, ("127.0.0.1", int(sys.argv[1])))]
tell([answers, [int(p) for p in os.listdir("/proc") if p.isdigit()]])
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        (answers, processes), _ = run(rung, program, str(server.getsockname()[1]))
    assert answers == [True, True, True]
    assert max(processes) < 20
    assert len(processes) <= 3


@pytest.mark.parametrize("rung", RUNGS[:3], ids=lambda rung: rung.name)
def test_no_privilege_is_left_and_none_can_be_won(rung):
    program = """
import ctypes, subprocess
libc = ctypes.CDLL(None, use_errno=True)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
rights = [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")]
new_user = libc.unshare(0x10000000)
mount = libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)
tell([rights, int(status["NoNewPrivs"]), new_user, mount, os.getuid()])
"""
    (rights, no_new, new_user, mount, uid), _ = run(rung, program)
    assert rights == [0] * 5 or os.getuid() != 0
    assert rights[:2] == [0, 0]
    assert (no_new, mount) == (1, -1)
    if os.getuid() == 0:
        assert uid != 0
    if rung == NAMESPACES:
        assert new_user == -1  # the kernel gives none inside a changed root


@closed
def test_disk_and_shared_memory_are_small(rung):
    program = """
sizes = []
for folder in ("/tmp", "/dev/shm"):
    for i in range(50):
        try:
            with open(f"{folder}/{i}", "wb") as file:
                file.write(bytes(1 << 20))
        except OSError:
            break
    paths = [os.path.join(folder, name) for name in os.listdir(folder)]
    sizes.append(sum(os.path.getsize(path) for path in paths if os.path.isfile(path)))
tell(sizes)
"""
    sizes, _ = run(rung, program, resources=Resources(disk=4 << 20, shm=2 << 20))
    assert sizes[0] <= 4 << 20
    assert sizes[1] <= 2 << 20


DAEMON = """
import signal, time
for _ in range(2):
    if os.fork():
        tell(1) if _ == 0 else None
        time.sleep(0.3)
        os._exit(0)
    os.setsid()
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
open(os.environ["HOME"] + "/left", "w")
time.sleep(600)
"""


def processes_with(token):
    found = []
    for pid in isolation.all_processes():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if token.encode() in command and isolation.parent_of(pid) is not None and pid != os.getpid():
            found.append(pid)
    return found


@pytest.mark.parametrize("rung", RUNGS[:3], ids=lambda rung: rung.name)
def test_daemons_and_files_do_not_outlive_their_sandbox(rung):
    token, before = f"daemon-{os.getpid()}-{rung.level}{rung.name[:2]}", set(os.listdir(tempfile.gettempdir()))
    told, clean = run(rung, DAEMON, token)
    assert (told, clean) == (1, True)
    assert processes_with(token) == []
    left = set(os.listdir(tempfile.gettempdir())) - before
    assert not [name for name in left if name.startswith(("labkit-", "left"))]


@rungs
def test_a_process_that_hangs_is_killed_with_its_children(rung):
    token = f"hang-{os.getpid()}-{rung.level}{rung.name[:2]}"
    program = "import time\n[os.fork() for _ in range(3)]\ntime.sleep(600)"
    _, clean = run(rung, program, token, seconds=0.5)
    assert clean
    assert processes_with(token) == []


def test_each_command_has_a_user_of_its_own():
    ids = {Sandbox(BUBBLEWRAP).placed().uid for _ in range(5)}
    assert ids == {None} if os.getuid() != 0 else len(ids) == 5 and min(ids) >= isolation.FIRST_UID
    assert Sandbox(LIMITS_ONLY).placed().uid is None


def test_the_memory_of_a_tree_is_seen():
    rung = isolation.probe()
    process = Sandbox(rung).start([sys.executable, "-c", "x = b'x' * (200 << 20); import time; time.sleep(60)"])
    deadline = time.monotonic() + 20
    while process.memory() < 200 << 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.memory() >= 200 << 20
    assert process.kill()
    assert process.memory() == 0


def test_the_ladder_is_honest():
    best = isolation.probe()
    assert best is next(rung for rung in RUNGS if not isolation.why_not(rung))
    assert [rung.for_strangers for rung in RUNGS] == [True, True, True, False]
    assert "Not promised" in str(best) or best == LIMITS_ONLY
    assert "the network is open" in OTHER_USER.gaps
    assert "your own rights" in LIMITS_ONLY.gaps


def test_a_rung_that_breaks_a_promise_is_not_used():
    facts = {"python": sys.version, "home": True, "network": False, "hidden": True, "processes": 2, "rights": 0}
    assert list(isolation.broken_promises(BUBBLEWRAP, facts)) == []
    for change in ({"network": True}, {"hidden": False}, {"processes": 90}, {"home": False}, {"python": "other"}):
        assert len(list(isolation.broken_promises(NAMESPACES, facts | change))) == 1
    assert list(isolation.broken_promises(LIMITS_ONLY, facts | {"network": True, "hidden": False})) == []


def test_a_missing_tool_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    isolation.why_not.cache_clear()
    try:
        assert "bwrap" in isolation.why_not(BUBBLEWRAP)
        assert isolation.probe() in (OTHER_USER, LIMITS_ONLY)
    finally:
        isolation.why_not.cache_clear()


def test_the_probe_of_an_unknown_folder_builds_no_root(monkeypatch):
    monkeypatch.setattr(isolation, "STAGES", ("/nowhere",))
    with pytest.raises(OSError, match="to build a root on"):
        Sandbox(NAMESPACES).root_script()


AS_USER = """
import json, os
from labkit.grading import isolation
from labkit.grading.proxy import SandboxedOracle
facts = {}
for rung in isolation.RUNGS:
    facts[rung.name] = isolation.why_not(rung)
    if not facts[rung.name]:
        with SandboxedOracle(isolation.Sandbox(rung)) as oracle:
            oracle.run("c1", "def double(x): return 2 * x")
            oracle.run("c2", "import os\\nos._exit(1)")
            facts[rung.name] = oracle.call("double", (21,))
print(json.dumps([os.getuid(), facts]))
"""


def in_a_machine_that_all_users_can_read(user):
    """Run AS_USER as root or not, where the interpreter is not under a private home."""
    if os.getuid() != 0 or isolation.why_not(BUBBLEWRAP):
        pytest.skip("needs root and bubblewrap to become an ordinary user")
    opened = [
        part for path in isolation.parents([Path(sys.base_prefix)]) for part in ("--perms", "0755", "--dir", path)
    ]
    opened = ["--tmpfs", opened[3], *opened[4:]] if opened[3] != Path("/usr") else []
    outer = ["bwrap", "--bind", "/", "/", "--dev-bind", "/dev", "/dev", *opened]
    outer += ["--ro-bind", sys.base_prefix, sys.base_prefix, "--ro-bind", paths.ROOT, paths.ROOT]
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*outer, *(drop if user else []), sys.executable, "-c", AS_USER]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=paths.ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_ordinary_user_gets_the_upper_rungs_too():
    uid, facts = in_a_machine_that_all_users_can_read(user=True)
    assert uid == 65534
    assert facts[OTHER_USER.name] == "only root can become another user"
    assert [facts[rung.name] for rung in (BUBBLEWRAP, NAMESPACES, LIMITS_ONLY)] == [42, 42, 42]


def test_root_can_become_another_user_where_the_interpreter_is_public():
    _, facts = in_a_machine_that_all_users_can_read(user=False)
    assert facts[OTHER_USER.name] == 42


@closed
def test_an_environment_behind_a_link_works(rung, monkeypatch):
    need(rung)
    link = Path(tempfile.mkdtemp(), "venv")  # pytest's folders are private
    os.chmod(link.parent, 0o755)
    link.symlink_to(sys.prefix)
    monkeypatch.setattr(sys, "prefix", str(link))
    told, clean = run(rung, f"tell(os.path.exists({str(link / 'bin')!r}))")
    shutil.rmtree(link.parent)
    assert (told, clean) == (True, True)
