"""Where a student's process runs: the best isolation that this machine offers, and an honest account of it.

The rungs are tried from the top: bubblewrap, plain namespaces, another user, resource limits alone. A rung counts
only if a trial process inside it confirms what the rung promises. The interpreter, `labkit` and a few data folders
are visible inside, read-only; nothing else of the machine is.
"""

import contextlib
import functools
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from labkit import paths

PACKAGE = Path(__file__).resolve().parents[1]
DATA = tuple(paths.DATA / name for name in ("checkpoints", "tables", "lectures"))
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
CONFIGURATION = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts", "/etc/localtime", "/sys/devices/system/cpu")
DEVICES = ("null", "zero", "full", "random", "urandom")
STAGES = ("/mnt", "/media", "/srv", "/opt")  # somewhere to build a root; seen by the student's process only
FIRST_UID = 1_900_000_000  # far from the users of any real machine
SLOTS = 1000
MOST_BUSY = 4  # tasks of one submission that run at once before they must give way
LOWEST = 19
_slots = itertools.count()
HOME = "/tmp"
PATH = "/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Rung:
    """One step of the ladder; from the third step down it is for trusted work only."""

    level: int
    name: str
    guarantees: str
    gaps: str

    @property
    def for_strangers(self) -> bool:
        """Whether untrusted work may be run here."""
        return self.level < 3

    def __str__(self) -> str:
        return f"isolation: {self.name}. {self.guarantees} {self.gaps}"


CLOSED = (
    "No network, no file of this machine but a read-only interpreter and the lab's data, private /tmp and /dev/shm of "
    "limited size, no other process in sight, no privileges; everything in it ends with it."
)
BUBBLEWRAP = Rung(1, "bubblewrap", CLOSED, "Not promised: holes in the kernel, side channels.")
NAMESPACES = Rung(2, "namespaces", CLOSED, "Not promised: holes in the kernel or in our own set-up, side channels.")
OTHER_USER = Rung(
    2,
    "another user",
    "Another user id for each slot: no file that other users cannot read, no signal to other processes; everything "
    "that runs under the id is ended.",
    "Not promised: the network is open, and files that every user may read are seen. Keep labs, results and "
    "submissions in folders of mode 0700.",
)
LIMITS_ONLY = Rung(
    3,
    "resource limits only",
    "Memory, processor time, file sizes and open files of each process are limited.",
    "Student code runs with your own rights: it can read and change your files, use the network, and leave processes "
    "behind. Use it for work that you trust.",
)
RUNGS = (BUBBLEWRAP, NAMESPACES, OTHER_USER, LIMITS_ONLY)


@dataclass(frozen=True)
class Resources:
    """What one student's process tree may use."""

    memory: int = 4 << 30  # bytes of address space of each process, and of all of them together in real memory
    cpu_seconds: int = 300
    processes: int = 64
    open_files: int = 256
    disk: int = 64 << 20  # bytes in /tmp, and in one file
    shm: int = 64 << 20

    def as_rlimits(self) -> dict[str, int]:
        """Return the limits by the names of the `resource` module, for the process to set on itself."""
        return {
            "RLIMIT_AS": self.memory,
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_FSIZE": self.disk,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_CORE": 0,
        }


@dataclass(frozen=True)
class Sandbox:
    """How commands run on a rung. As root each gets a user id of its own: `uid` is chosen when it starts."""

    rung: Rung
    resources: Resources = field(default_factory=Resources)
    read_only: tuple[Path, ...] = DATA
    uid: int | None = None

    def placed(self) -> "Sandbox":
        """Return the sandbox with a user id that no other running command has, if we may choose one."""
        if os.getuid() != 0 or self.rung == LIMITS_ONLY:
            return self
        return replace(self, uid=FIRST_UID + os.getpid() % 60_000 * SLOTS + next(_slots) % SLOTS)

    def rlimits(self) -> dict[str, int]:
        """Return the limits for the process to set on itself, by the names of the `resource` module."""
        limits = self.resources.as_rlimits()
        if self.placed().uid is None and (self.rung == LIMITS_ONLY or kernel() < (5, 14)):
            limits["RLIMIT_NPROC"] += tasks_of(os.getuid())  # the kernel counts all that the user runs
        return limits

    def start(self, command: list[str], *, pass_fds: Iterable[int] = ()) -> "Process":
        """Start a command; the descriptors of `pass_fds` and no others stay open in it."""
        place = self.placed()
        folder = None if self.rung in (BUBBLEWRAP, NAMESPACES) else place.private_folder()
        popen = subprocess.Popen(
            place.wrap(command),
            env=environment(str(folder or HOME)),
            cwd=folder or "/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
        return Process(popen, place, folder)

    def private_folder(self) -> Path:
        """Return a new folder that only the student's process uses."""
        folder = Path(tempfile.mkdtemp(prefix="labkit-"))
        if self.uid is not None:
            os.chown(folder, self.uid, self.uid)
        return folder

    def wrap(self, command: list[str]) -> list[str]:
        """Return the command with what puts it into this sandbox before it."""
        wrappers = {BUBBLEWRAP: self.bubblewrap, NAMESPACES: self.namespaces, OTHER_USER: self.drop}
        return [*(wrappers[self.rung]() if self.rung in wrappers else []), *command]

    def bubblewrap(self) -> list[str]:
        """Return the bubblewrap command: namespaces, a root of its own, no capabilities."""
        spaces = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        if self.uid is None:
            spaces += ["--unshare-user", "--disable-userns"]
        mounts = ["--proc", "/proc", "--dev", "/dev"]
        for folder, size in (("/tmp", self.resources.disk), ("/dev/shm", self.resources.shm)):
            mounts += ["--perms", "1777", "--size", str(size), "--tmpfs", folder]
        for parent in parents(self.visible()):
            mounts += ["--perms", "0755", "--dir", str(parent)]
        for path in self.visible():
            mounts += ["--symlink", os.readlink(path), str(path)] if path.is_symlink() else bound(path)
        sealed = ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME, "--cap-drop", "ALL"]
        return ["bwrap", *spaces, "--die-with-parent", "--new-session", *mounts, *sealed, *self.drop(keep=True)]

    def drop(self, *, keep: bool = False) -> list[str]:
        """Return the command that changes to the slot's user for good; bubblewrap is told to leave it the right to."""
        if self.uid is None:
            return ["--"] if keep else ["setpriv", "--no-new-privs"]
        rights = [part for name in ("SETUID", "SETGID", "SETPCAP") for part in ("--cap-add", f"CAP_{name}")]
        user = ["setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), "--clear-groups", "--no-new-privs"]
        return [*(rights if keep else []), *(["--"] if keep else []), *user, "--bounding-set=-all", "--inh-caps=-all"]

    def namespaces(self) -> list[str]:
        """Return the same as `bubblewrap`, made with unshare, mount and chroot."""
        user = ["--user", "--map-root-user"] if self.uid is None else []
        spaces = ["--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts"]
        return ["unshare", *user, *spaces, "/bin/sh", "-c", self.root_script(), "sh"]

    def root_script(self) -> str:
        """Return the shell script that builds a root folder, enters it and runs its arguments there."""
        free = (s for s in STAGES if Path(s).is_dir() and not any(p.is_relative_to(s) for p in self.visible()))
        if (stage := next(free, None)) is None:
            raise OSError(f"none of {', '.join(STAGES)} is there to build a root on")
        lines = ["set -e", "umask 022", f"mount -t tmpfs -o size=1m,mode=0755,nosuid root {stage}", f"cd {stage}"]
        lines += ["mkdir -p proc dev tmp", "mount -t proc -o nosuid,nodev,noexec proc proc"]
        lines += [tmpfs("tmp", self.resources.disk), "mkdir -p dev/shm", tmpfs("dev/shm", self.resources.shm)]
        for path in [*self.visible(), *(Path("/dev", name) for name in DEVICES)]:
            lines += staged(path)
        lines += ["mount -o remount,bind,ro,nosuid .", f"cd {stage}"]
        user = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"] if self.uid is None else self.drop()[1:]
        inner = f'cd {HOME}; unset OLDPWD; exec setpriv {" ".join(user)} -- "$@"'
        return "\n".join([*lines, f"exec chroot . /bin/sh -c '{inner}' sh \"$@\""])

    def visible(self) -> list[Path]:
        """Return what is bound into the sandbox: system, interpreter, labkit, data; none of them inside another."""
        wanted: list[str | Path] = [*SYSTEM, *CONFIGURATION, sys.base_prefix, sys.prefix, PACKAGE, *self.read_only]
        found: list[Path] = []
        for path in (path for name in wanted for path in (Path(name), Path(name).resolve())):  # a link, and its target
            if path.exists() and not any(path.is_relative_to(other) for other in found):
                found.append(path)
        return found


def bound(path: Path) -> list[str]:
    return ["--ro-bind", str(path), str(path)]


def staged(path: Path) -> list[str]:
    """Return shell lines that show a path, read-only, below the current folder."""
    here, above = quote(f".{path}"), f"mkdir -p {quote(f'.{path.parent}')}"
    if path.is_symlink():
        return [above, f"ln -s {quote(os.readlink(path))} {here}"]
    make = f"mkdir -p {here}" if path.is_dir() else f"{above}; : > {here}"
    flags = "ro,nosuid" if path.is_relative_to("/dev") else "ro,nosuid,nodev"
    return [make, f"mount --bind {quote(str(path))} {here}", f"mount -o remount,bind,{flags} {here}"]


def tmpfs(folder: str, size: int) -> str:
    return f"mount -t tmpfs -o size={size},mode=1777,nosuid,nodev tmpfs {folder}"


def quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def parents(visible: Iterable[Path]) -> list[Path]:
    """Return the folders above the bound paths, outermost first: they must be open to every user, whatever they are."""
    above = {parent for path in visible for parent in path.parents if parent != Path("/")}
    return sorted(above, key=lambda path: len(path.parts))


def environment(home: str) -> dict[str, str]:
    """Return the whole environment of a student's process: nothing is inherited."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    python = {"PYTHONPATH": str(PACKAGE.parent), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    python |= {"PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1", "MPLBACKEND": "Agg", "PYTHONUTF8": "1"}
    place = {"HOME": home, "TMPDIR": home, "USER": "student", "PATH": PATH, "LANG": "C.UTF-8"}
    return python | place | dict.fromkeys(threads, "1")


class Process:
    """A running command and everything it started. Its id stays reserved until `kill`, so no other process is hit."""

    def __init__(self, popen: subprocess.Popen, sandbox: Sandbox, folder: Path | None) -> None:
        self.popen, self.sandbox, self.folder = popen, sandbox, folder
        self.seen: dict[int, int] = {}  # process id -> start time, for ids are used again

    def alive(self) -> bool:
        """Whether the command itself still runs."""
        return self.popen.returncode is None and parent_of(self.popen.pid) is not None

    def tree(self) -> set[int]:
        """Return the ids of the command's processes, as far as they can be told from ours."""
        if self.popen.returncode is not None:
            return set()
        found = {*descendants(self.popen.pid), *(pid for pid, start in self.seen.items() if started(pid) == start)}
        if self.sandbox.rung == LIMITS_ONLY:
            sessions = {session_of(pid) for pid in found} & {*found, self.popen.pid}
            found |= {pid for pid in all_processes() if session_of(pid) in sessions}
        if self.sandbox.uid is not None:
            found |= {pid for pid in all_processes() if owner_of(pid) == self.sandbox.uid}
        self.seen |= {pid: start for pid in found if (start := started(pid)) is not None}
        return found

    def memory(self) -> int:
        """Return the real memory of the tree in bytes; what its processes share counts once for each."""
        return sum(map(resident, self.tree()))

    def restrain(self) -> None:
        """Give a tree of many busy tasks the lowest priority: it must not slow other submissions down."""
        tasks = [task for pid in self.tree() for task in tasks_in(pid)]
        if sum(fields_in(task)[:1] == ["R"] for task in tasks) > MOST_BUSY:
            for task in tasks:
                with contextlib.suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, int(task.name), LOWEST)

    def kill(self, *, patience: float = 5.0) -> bool:
        """End every process and remove every file of the command; tell whether nothing is left."""
        deadline = time.monotonic() + patience
        while (left := self.tree()) and time.monotonic() < deadline:
            for pid in sorted(left):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        if not left:
            self.popen.wait()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        return not left


def all_processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def tasks_in(pid: int) -> list[Path]:
    """Return the folders of a process's threads in /proc."""
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def status_fields(pid: int) -> list[str]:
    return fields_in(Path(f"/proc/{pid}"))


def fields_in(folder: Path) -> list[str]:
    """Return the fields of a process's or thread's stat file from the state on, or none if it is gone."""
    try:
        return (folder / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()
    except OSError:
        return []


def parent_of(pid: int) -> int | None:
    fields = status_fields(pid)
    return int(fields[1]) if fields and fields[0] != "Z" else None


def started(pid: int) -> int | None:
    fields = status_fields(pid)
    return int(fields[19]) if fields and fields[0] != "Z" else None


def session_of(pid: int) -> int | None:
    fields = status_fields(pid)
    return int(fields[3]) if fields and fields[0] != "Z" else None


def owner_of(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid if parent_of(pid) is not None else None
    except OSError:
        return None


def tasks_of(uid: int) -> int:
    """Return how many threads a user runs."""
    return sum(len(tasks_in(pid)) for pid in all_processes() if owner_of(pid) == uid)


def kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])


def resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def descendants(root: int) -> Iterator[int]:
    """Yield a process and all below it that still run; in a namespace of their own, orphans stay below too."""
    children: dict[int, list[int]] = {}
    for pid in all_processes():
        children.setdefault(parent_of(pid) or 0, []).append(pid)
    todo = [root] if parent_of(root) is not None else []
    while todo:
        pid = todo.pop()
        yield pid
        todo += children.get(pid, [])


TRIAL = """
import json, os, socket, sys, numpy, labkit
def closed(path):
    try:
        os.listdir(path)
    except OSError:
        return True
try:
    socket.create_connection(("192.0.2.1", 9), 0.05)
    network = True
except OSError as error:
    network = error.errno not in (101, 100, 99)
rights = [line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "CapPrm", "CapBnd"))]
seen = sum(name.isdigit() for name in os.listdir("/proc"))
facts = dict(uid=os.getuid(), network=network, rights=max(int(r, 16) for r in rights), processes=seen,
             hidden=all(map(closed, sys.argv[2:])), python=sys.version, home=os.access(os.environ["HOME"], os.W_OK))
os.write(int(sys.argv[1]), json.dumps(facts).encode())
"""


@functools.cache
def why_not(rung: Rung) -> str:
    """Return why a rung cannot be used on this machine, or an empty text if a trial in it went well."""
    tools = {
        BUBBLEWRAP: ["bwrap", "setpriv"],
        NAMESPACES: ["unshare", "setpriv", "mount", "chroot"],
        OTHER_USER: ["setpriv"],
    }
    missing = [tool for tool in tools.get(rung, []) if shutil.which(tool, path=PATH) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if rung == OTHER_USER and os.getuid() != 0:
        return "only root can become another user"
    try:
        facts, problem = trial(Sandbox(rung))
    except OSError as error:
        return str(error)
    return problem or ", ".join(broken_promises(rung, facts))


def trial(sandbox: Sandbox) -> tuple[dict, str]:
    """Run the trial program in a sandbox; return what it found, or what went wrong."""
    reader, writer = os.pipe()
    hidden = [str(PACKAGE.parent / "labs"), str(PACKAGE.parent / "tests")]
    process = sandbox.start([sys.executable, "-c", TRIAL, str(writer), *hidden], pass_fds=[writer])
    os.close(writer)
    try:
        with open(reader, "rb") as file:
            answer = file.read(10_000)
        return (json.loads(answer), "") if answer else ({}, f"the trial ended with status {process.popen.wait()}")
    finally:
        process.kill()


def broken_promises(rung: Rung, facts: dict) -> Iterator[str]:
    """Yield what a rung promises and the trial did not find."""
    if facts["python"] != sys.version:  # a private interpreter that the other user cannot reach
        yield "the interpreter cannot be used inside"
    if not facts["home"]:
        yield "no writable home"
    if rung in (BUBBLEWRAP, NAMESPACES):
        if facts["network"]:
            yield "the network is open"
        if not facts["hidden"] or facts["processes"] > 4:
            yield "the machine is in sight"
    if rung != LIMITS_ONLY and facts["rights"] and os.getuid() == 0:
        yield "privileges are left"


def probe() -> Rung:
    """Return the best rung that works on this machine.

    >>> probe() in RUNGS
    True
    """
    return next(rung for rung in RUNGS if not why_not(rung))
