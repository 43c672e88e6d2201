"""What the trusted side sees of a submission: an oracle that owns the student's process, and stand-ins for functions.

Whatever the process does or answers, the methods here return plain data or raise a `StudentError`. Marks are decided
by the caller alone.
"""

import contextlib
import inspect
import socket
import sys
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from labkit.grading import isolation, wire, worker
from labkit.grading.errors import StudentError
from labkit.grading.replies import clean, error_text, error_type, number, text, words

REPLAY_SECONDS = 2.0  # for a cell that has already used up its own limit once
SLOWEST = 4  # a function that overran its time again and again still gets this part of it
CELLS = ""  # the account of all cells together; every other account is a question's
Kind = inspect.Parameter
KINDS = (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD, Kind.VAR_POSITIONAL, Kind.KEYWORD_ONLY, Kind.VAR_KEYWORD)


class WorkerDied(StudentError):  # noqa: N818 - it tells what happened
    """The student's process ended, hung, or answered with something that is no answer."""


class WorkerHung(WorkerDied):
    """The student's process gave no answer in time."""


class SandboxError(RuntimeError):
    """The sandbox itself does not work; no fault of the student's."""


class OutOfTime(StudentError):  # noqa: N818
    """The cells, or the checks of one question, used up their whole time."""


@dataclass(frozen=True)
class Times:
    """Seconds that a cell, a call and a start may take, all `cells` together, and the checks of each `question`.

    Restarts count. What one question uses up is not taken from another, so a submission takes at most
    `cells` + `question` times the number of its questions.
    """

    cell: float = 60.0  # by the clock, so with room for a machine that is busy with other submissions
    call: float = 10.0
    start: float = 30.0
    cells: float = 300.0
    question: float = 120.0
    grace: float = 2.0  # between asking the student's code to stop and ending its process


@dataclass(frozen=True)
class CellReport:
    """How a cell ended. Everything but `id`, `source` and `killed` is the student's own word."""

    id: str
    source: str
    error: str = ""
    seconds: float = 0.0
    output: str = ""
    printed: int = 0
    binds: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    killed: bool = False
    timed_out: bool = False


@dataclass(frozen=True)
class Outcome:
    """The result of a call: the value, and the arguments as the call left them if it changed them in place."""

    value: Any
    mutated: bool = False
    args: tuple = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    output: str = ""


class Connection:
    """One student's process and the numbered questions put to it. It starts in the background; `wait` waits for it."""

    def __init__(self, sandbox: isolation.Sandbox, preload: Iterable[str]) -> None:
        ours, theirs = socket.socketpair()
        self.channel, self.number, self.ready = wire.Channel(ours), 0, False
        with theirs:
            command = [sys.executable, "-c", worker.BOOT, str(theirs.fileno())]
            self.process = sandbox.start(command, pass_fds=[theirs.fileno()])
        self.most_memory = sandbox.resources.memory
        self.send({"limits": sandbox.rlimits(), "preload": list(preload)}, time.monotonic() + 1)

    def wait(self, deadline: float) -> None:
        """Wait until the process has imported what it needs; raises SandboxError if it never does."""
        try:
            if not self.ready:
                self.receive(deadline)
        except WorkerDied as error:
            self.close()
            rung = self.process.sandbox.rung.name
            raise SandboxError(f"a worker did not start in the sandbox ({rung}): {error}") from None
        self.ready = True

    def ask(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Put one question and return the answer; raises WorkerDied if none comes, after which this is useless."""
        self.send(request, deadline)
        return self.receive(deadline)

    def send(self, request: dict[str, Any], deadline: float) -> None:
        """Put a question; that nobody reads it shows when the answer is read."""
        self.number += 1
        with contextlib.suppress(TimeoutError, wire.ChannelClosed):
            self.channel.send(self.number, wire.encode(request), deadline=deadline)

    def receive(self, deadline: float) -> dict[str, Any]:
        """Return the answer to the last question."""
        number, payload = 0, bytearray()
        try:
            while number < self.number:  # what was sent earlier answers nothing
                number, payload = self.channel.receive(deadline=deadline, watch=self.watch)
            reply = wire.decode(payload)
        except TimeoutError:
            raise WorkerHung("no answer in time") from None
        except (wire.ChannelClosed, wire.WireError) as error:
            raise WorkerDied(f"the process ended or broke the channel ({error})") from None
        if number != self.number or type(reply) is not dict:
            raise WorkerDied("the process wrote to the channel on its own")
        return reply

    def watch(self) -> None:
        """End the wait for a process that is gone or takes too much memory, and see that it gives way to others."""
        if not self.process.alive():
            raise wire.ChannelClosed("the process has ended")
        if self.process.memory() > self.most_memory:
            raise wire.ChannelClosed("the processes took more memory than allowed")
        self.process.restrain()

    def close(self) -> bool:
        """End the process and all that it started; tell whether nothing is left of it."""
        self.channel.close()
        return self.process.kill()


class SandboxedOracle:
    """Runs a submission's cells in a sandbox and answers questions about them; see `labkit.grading.oracle.Oracle`.

    A process that dies is replaced by a new one, in which all cells run again except those that ended it.

    >>> with SandboxedOracle() as oracle:
    ...     _ = oracle.run("c1", "def double(x): return 2 * x")
    ...     oracle.call("double", (21,), {})
    42
    """

    def __init__(
        self,
        sandbox: isolation.Sandbox | None = None,
        *,
        times: Times = Times(),
        seed: int = 0,
        preload: Iterable[str] = ("numpy",),
    ) -> None:
        self.sandbox = sandbox or isolation.Sandbox(isolation.probe())
        self.times, self.seed, self.preload = times, seed, tuple(preload)
        self.reports: dict[str, CellReport] = {}
        self.restarts, self.clean = 0, True
        self.connection: Connection | None = None
        self.calls: dict[str, int] = {}
        self.overruns: Counter[str] = Counter()
        self.account = CELLS
        self.used: defaultdict[str, float] = defaultdict(float)

    def __enter__(self) -> "SandboxedOracle":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def spent(self) -> float:
        """The seconds used so far, on all accounts."""
        return sum(self.used.values())

    # what the checks ask for

    def allot(self, account: str) -> None:
        """Charge what follows to the account of a question, or to that of the cells."""
        self.account = account

    def run(self, cell_id: str, source: str) -> str:
        """Run a cell; return what it raised as text, or an empty text. Nothing that a cell does raises here."""
        while cell_id in self.reports:  # a student may give two cells one id
            cell_id += "'"
        try:
            self.connect()
            report = self.run_cell(cell_id, source, self.times.cell)
        except StudentError as error:
            report = CellReport(cell_id, source, str(error), killed=isinstance(error, WorkerDied))
        self.reports[cell_id] = report
        return report.error

    def value(self, name: str) -> Any:
        """Return a variable as plain data, or as a `RemoteObject`; raises StudentError if it is not defined."""
        return self.result(self.ask("value", self.times.call, target=name))

    def call(self, name: "str | RemoteObject", args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Call a function on copies of the arguments; raises StudentError with the text of what it raised."""
        return self.outcome(name, args, kwargs).value

    def outcome(
        self, name: "str | RemoteObject", args: tuple = (), kwargs: dict[str, Any] | None = None, **options: Any
    ) -> Outcome:
        """Call a function and return all that is known of the call; options: seconds, seed."""
        return self.call_with("call", args, kwargs, target=to_wire(name), **options)

    def probe(self, source: str, name: str, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Define the probe `name` with a copy of the student's names and call it there."""
        return self.call_with("probe", args, kwargs, source=source, name=name).value

    def function(self, name: str) -> "StudentFunction":
        """Return a stand-in for a function of the student's; raises StudentError if there is none."""
        facts = self.result(self.ask("describe", self.times.call, target=name))
        if not (isinstance(facts, dict) and facts.get("callable") is True):
            raise StudentError(f"{name} is not callable")
        return StudentFunction(self, name, signature(facts.get("parameters")))

    def alone(self, names: Iterable[str], setup: Iterable[tuple[str, str]] = ()) -> "SandboxedOracle":
        """Return another oracle that has run a set-up, given as pairs (id, source), and the cells that `names` need.

        What other cells broke is whole there. Which cells are needed is found out before any of them runs.
        """
        other = SandboxedOracle(self.sandbox, times=self.times, seed=self.seed, preload=self.preload)
        other.account, other.used, other.overruns = self.account, self.used, self.overruns
        before = other.with_names(CellReport(*pair) for pair in setup)
        for report in [*before, *needed(other.with_names(self.reports.values()), names, before)]:
            other.run(report.id, report.source)
        return other

    def with_names(self, reports: Iterable[CellReport]) -> list[CellReport]:
        """Return reports with the names that their cells bind and use, as a process without student code reads them."""
        found = [(report, self.names_in(report.source)) for report in reports]
        return [replace(report, binds=names["binds"], uses=names["uses"]) for report, names in found]

    def names_in(self, source: str) -> dict[str, tuple[str, ...]]:
        try:
            reply = self.ask("names", self.times.call, source=source)
        except StudentError:
            reply = {}
        return {key: words(reply.get(key)) for key in ("binds", "uses")}

    # the process

    def warm(self) -> "SandboxedOracle":
        """Start the process without waiting for it, to have it ready when the submission's turn comes."""
        if self.connection is None:
            self.connection = Connection(self.sandbox, self.preload)
        return self

    def connect(self) -> None:
        """Have a process that is ready; after a death, replay in a new one the cells that did not cause it."""
        while self.connection is None or not self.connection.ready:
            start, seconds = time.monotonic(), self.allowed(self.times.start)
            try:
                self.warm()
                assert self.connection is not None
                self.connection.wait(start + seconds)
            except SandboxError:
                self.close()
                if seconds == self.times.start or time.monotonic() < start + seconds:
                    raise  # else the account had too little left for a start, which is found out above
            finally:
                self.used[self.account] += time.monotonic() - start
            self.replay()

    def replay(self) -> None:
        for report in [r for r in self.reports.values() if not r.killed]:
            try:
                self.run_cell(report.id, report.source, REPLAY_SECONDS if report.timed_out else self.times.cell)
            except WorkerDied as error:
                self.reports[report.id] = CellReport(report.id, report.source, str(error), killed=True)
                return

    def run_cell(self, cell_id: str, source: str, seconds: float) -> CellReport:
        reply = self.exchange({"op": "cell", "id": cell_id, "source": source}, seconds, cell_id)
        binds, uses = (words(reply.get(key)) for key in ("binds", "uses"))
        facts: dict[str, Any] = {"seconds": number(reply.get("seconds")), "output": text(reply.get("output"), 20_000)}
        facts |= {"printed": int(number(reply.get("printed"))), "timed_out": error_type(reply) == "TimeIsUp"}
        return CellReport(cell_id, source, error_text(reply), binds=binds, uses=uses, **facts)

    def ask(self, op: str, seconds: float, *, seed: int | None = None, **request: Any) -> dict[str, Any]:
        """Put a question about the cells run so far."""
        self.connect()
        return self.exchange({"op": op, **request}, seconds, repr(request.get("target", op)), seed)

    def exchange(self, request: dict[str, Any], seconds: float, label: str, seed: int | None = None) -> dict[str, Any]:
        seconds = self.allowed(seconds)
        request |= {"seconds": seconds, "seed": self.next_seed(label) if seed is None else seed}
        start = time.monotonic()
        try:
            assert self.connection is not None
            return self.connection.ask(request, start + seconds + self.times.grace)
        except WorkerDied:
            self.close()
            self.restarts += 1
            raise
        finally:
            self.used[self.account] += time.monotonic() - start

    def allowed(self, seconds: float) -> float:
        whole = self.most(self.account)
        left = whole - self.used[self.account]
        if left <= 0:
            self.close()
            what = "the cells" if self.account == CELLS else f"the checks of {self.account}"
            raise OutOfTime(f"{what} used up their {whole:g} seconds")
        return min(seconds, left)

    def most(self, account: str) -> float:
        """Return the seconds that an account holds."""
        return self.times.cells if account == CELLS else self.times.question

    def next_seed(self, label: str) -> int:
        """Return the seed of the next use of a name: the same in every run over the same submission."""
        self.calls[label] = self.calls.get(label, 0) + 1
        return zlib.crc32(f"{self.seed}:{label}:{self.calls[label]}".encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """End the student's process, all that it started, and its files."""
        if self.connection is not None:
            self.clean &= self.connection.close()
            self.connection = None

    # answers

    def call_with(self, op: str, args: tuple, kwargs: dict[str, Any] | None, **request: Any) -> Outcome:
        sent = wire.encode((tuple(map(to_wire, args)), {key: to_wire(item) for key, item in (kwargs or {}).items()}))
        label = repr(request.get("target", request.get("name")))
        seconds = request.pop("seconds", self.times.call) / min(SLOWEST, 2 ** min(self.overruns[label], 10))
        reply = self.timed(label, lambda: self.ask(op, seconds, sent=sent, **request))
        value = self.result(reply)
        rest: dict[str, Any] = {"seconds": number(reply.get("seconds")), "output": text(reply.get("output"), 20_000)}
        if "after" not in reply:
            return Outcome(value, **rest)
        after = self.decoded(reply["after"])
        after_args, after_kwargs = after if type(after) is tuple and len(after) == 2 else ((), {})
        return Outcome(value, True, after_args, after_kwargs, **rest)

    def timed(self, label: str, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Count the calls that overran their time, so that an endless answer does not take all of it each time."""
        try:
            reply = ask()
        except WorkerHung:
            self.overruns[label] += 1
            raise
        self.overruns[label] += error_type(reply) == "TimeIsUp"
        return reply

    def result(self, reply: dict[str, Any]) -> Any:
        """Return the value in an answer; raises StudentError if it holds an error or no value."""
        if "error" in reply or type(reply.get("value")) is not bytes:
            raise StudentError(error_text(reply) or "no value came back")
        return self.decoded(reply["value"])

    def decoded(self, data: Any) -> Any:
        try:
            return wire.decode(data, remote=lambda ref: RemoteObject(self, ref)) if type(data) is bytes else None
        except wire.WireError as error:
            raise StudentError(f"no value came back: {error}") from None


class RemoteObject:
    """An object that stayed in the student's process: call it, pass it back as an argument, or probe it.

    It is never true, equal or different: a check that takes it for plain data fails with a StudentError.
    """

    def __init__(self, oracle: SandboxedOracle, ref: wire.Remote) -> None:
        self.oracle, self.ref = oracle, ref
        self.life = oracle.restarts  # the object ends with the process that holds it
        self.type_name = clean(ref.type_name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.oracle.call(self, args, kwargs)

    def probe(self, source: str, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call an instructor's probe with this object as its first argument."""
        return self.oracle.probe(source, name, (self, *args), kwargs)

    def __bool__(self) -> bool:
        raise StudentError(f"a {self.type_name} came back where plain data was expected")

    def __eq__(self, other: object) -> bool:
        return bool(self)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<{self.type_name} in the student's process>"


class StudentFunction:
    """A function of the student's: takes and gives copies of plain data; `last` tells about the last call."""

    def __init__(self, oracle: SandboxedOracle, name: str, parameters: inspect.Signature | None) -> None:
        self.oracle, self.last = oracle, Outcome(None)
        self.__name__ = self.__qualname__ = name
        if parameters is not None:
            self.__signature__ = parameters

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.last = Outcome(None)
        self.last = self.oracle.outcome(self.__name__, args, kwargs)
        return self.last.value

    def __repr__(self) -> str:
        return f"<{self.__name__} in the student's process>"


def to_wire(value: Any) -> Any:
    """Return an argument as it is sent: a stand-in becomes the reference to its object."""
    if not isinstance(value, RemoteObject):
        return value
    if value.life != value.oracle.restarts:
        raise StudentError(f"the {value.type_name} is gone: its process ended")
    return value.ref


def signature(parameters: Any) -> inspect.Signature | None:
    """Return the signature that the worker describes; None if it describes none."""
    if type(parameters) is not list:
        return None
    with contextlib.suppress(ValueError, TypeError, IndexError):
        build: Callable[..., inspect.Parameter] = inspect.Parameter
        parts = [build(n, KINDS[k], **({"default": ...} if has else {})) for n, k, has in parameters[:100]]
        return inspect.Signature(parts)
    return None


def needed(reports: list[CellReport], wanted: Iterable[str], provided: Iterable[CellReport] = ()) -> list[CellReport]:
    """Return the cells that bind names or, step by step, anything that those cells use, in their order.

    Of several cells that bind a name the last counts, and those before it if it uses the name itself. What the cells
    in `provided` bind is there already. A cell with `from x import *` may bind anything.
    """
    chosen = {report.id for report in reports if "*" in report.binds}
    todo = list(wanted)
    done = {name for report in provided for name in report.binds}.difference(todo)
    while todo:
        if (name := todo.pop()) not in done:
            done.add(name)
            found = binders(reports, name)
            chosen |= {report.id for report in found}
            todo += [used for report in found for used in report.uses]
    return [report for report in reports if report.id in chosen]


def binders(reports: list[CellReport], name: str) -> list[CellReport]:
    found = [report for report in reports if name in report.binds]
    fresh = [i for i, report in enumerate(found) if name not in report.uses]
    return found[fresh[-1] :] if fresh else found
