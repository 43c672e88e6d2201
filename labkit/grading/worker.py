"""The student's process: runs cells and answers calls with plain data. Nothing in here decides a mark.

It reads requests from a socket and answers each (`BOOT` starts it). The code of students runs in this very process
and may change anything in it; so the trusted side believes none of the answers and treats them as the student's own
words.
"""

import ast
import asyncio
import builtins
import contextlib
import ctypes
import importlib
import inspect
import io
import linecache
import os
import random
import re
import resource
import signal
import socket
import symtable
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from labkit.grading import wire

OUTPUT = 20_000  # characters kept of what a cell prints
TEXT = 500  # characters kept of a message
NAMES = 2_000
RUN_BODY = ("time", "timeit", "capture", "prun")  # cell magics whose body is ordinary code
LOOKS_LIKE_IPYTHON = re.compile(r"^\s*[%!?]|\?\s*$|=\s*[%!]", re.MULTILINE)
PR_SET_NO_NEW_PRIVS = 38
SYNTAX = (SyntaxError, IndentationError, TabError)
TYPE_NAME = vars(type)["__name__"].__get__  # the real one, whatever a metaclass says

# `labkit.grading` is an empty package here: nothing of the grader is loaded but the two modules that this needs.
BOOT = """
import sys, types, labkit
package = types.ModuleType("labkit.grading")
package.__path__ = [labkit.__path__[0] + "/grading"]
sys.modules["labkit.grading"] = labkit.grading = package
from labkit.grading.worker import main
main()
"""


class TimeIsUp(BaseException):
    """Raised in the student's code when its time limit is reached."""


class Output(io.TextIOBase):
    """Keeps the first part of what is printed and counts the rest."""

    def __init__(self) -> None:
        self.kept, self.length = "", 0

    def write(self, text: str) -> int:
        """Take a text."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.kept += text[: max(0, OUTPUT - self.length)]
        self.length += len(text)
        return len(text)

    def writable(self) -> bool:
        """Return True."""
        return True


class Shell:
    """Stands in for IPython's shell: magics do nothing, except those that merely wrap code."""

    def __init__(self, run: Callable[[str], None]) -> None:
        self.run = run

    def run_line_magic(self, name: str, line: str, *_: Any) -> None:
        """Run the statement of `%time`."""
        if name == "time":
            self.run(line)

    def run_cell_magic(self, name: str, line: str, cell: str) -> None:
        """Run the body of `%%time` and its like."""
        if name in RUN_BODY:
            self.run(cell)

    def getoutput(self, *_: Any, **__: Any) -> list[str]:
        """Run no command."""
        return []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Worker:
    """The student's names, the objects that stay here, and the operations that the trusted side may ask for."""

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")
        self.names: dict[str, Any] = vars(self.module)
        self.objects: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.shell = Shell(self.run_source)
        self.cell, self.cells = "<cell>", 0
        sys.modules["__main__"] = self.module
        vars(builtins)["get_ipython"] = lambda: self.shell
        vars(builtins)["display"] = lambda *_, **__: None
        vars(np.random.bit_generator)["randbits"] = random.getrandbits  # what default_rng() asks for a seed

    # the operations

    def do_cell(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run one cell; report how it ended, what it printed and which names it binds and uses."""
        self.cells += 1
        self.cell = f"<cell {self.cells} {request['id']}>"  # a file name of its own, as in Jupyter
        source = self.plain_python(request["source"])
        return self.guarded(lambda: self.run_source(source), request)

    def do_names(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the names that a cell binds and uses; the cell does not run."""
        return dict(zip(("binds", "uses"), names_in(self.plain_python(request["source"])), strict=True))

    def do_call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Call a function; report its value, and the arguments if they were changed in place."""
        return self.call_and_compare(lambda: self.find(request["target"]), request)

    def do_probe(self, request: dict[str, Any]) -> dict[str, Any]:
        """Define the instructor's probe beside a copy of the student's names, and call it."""

        def define() -> Any:
            names = dict(self.names)
            execute(request["source"], f"<probe {request['name']}>", names)
            return names[request["name"]]

        return self.call_and_compare(define, request)

    def do_value(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return a variable, as plain data or as a reference."""
        return self.guarded(lambda: self.find(request["target"]), request, result=True)

    def do_describe(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return what a name stands for, without touching it more than needed."""
        return self.guarded(lambda: describe(self.find(request["target"])), request, result=True)

    # their parts

    def call_and_compare(self, find: Callable[[], Any], request: dict[str, Any]) -> dict[str, Any]:
        args, kwargs = request["args"], request["kwargs"]
        reply = self.guarded(lambda: find()(*args, **kwargs), request, result=True)
        after = self.encoded((args, kwargs))
        if after is None or after != request["sent"]:
            reply["after"] = after
        return reply

    def encoded(self, value: Any) -> bytes | None:
        with contextlib.suppress(wire.WireError):
            return wire.encode(value, keep=self.keep)
        return None

    def guarded(self, work: Callable[[], Any], request: dict[str, Any], *, result: bool = False) -> dict[str, Any]:
        """Do the student's work within its time; return its value as bytes, or its error as text."""
        output, started = Output(), time.perf_counter()
        sys.stdout = sys.stderr = output
        seed_everything(request["seed"])
        reply: dict[str, Any] = {}
        try:
            with time_limit(request["seconds"]):
                value = work()
                reply["value"] = wire.encode(value, keep=self.keep) if result else None
        except BaseException as error:
            reply["error"] = explained(error)
        reply |= {"seconds": time.perf_counter() - started, "output": output.kept, "printed": output.length}
        return reply

    def find(self, target: Any) -> Any:
        """Return the object that a name stands for; a reference has been resolved already."""
        if type(target) is not str:
            return target
        if target not in self.names:
            raise NameError(f"{target} is not defined")
        return self.names[target]

    def keep(self, value: Any) -> wire.Remote:
        """Keep an object that cannot be sent, and return its reference."""
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)  # which keeps it alive, so its id stays its own
        return wire.Remote(self.numbers[id(value)], TYPE_NAME(type(value))[:200], callable(value))

    def resolve(self, ref: wire.Remote) -> Any:
        """Return the object behind a reference."""
        return self.objects[ref.id]

    def plain_python(self, source: str) -> str:
        """Return the cell without IPython's syntax; IPython is loaded only for cells that look like it."""
        if LOOKS_LIKE_IPYTHON.search(source):
            with contextlib.suppress(Exception):
                from IPython.core.inputtransformer2 import TransformerManager

                return TransformerManager().transform_cell(source)
        return source

    def run_source(self, source: str) -> None:
        """Run code among the student's names."""
        execute(source, self.cell, self.names)


def execute(source: str, filename: str, names: dict[str, Any]) -> None:
    """Run source text, with `await` at top level as in a notebook; `inspect.getsource` finds its lines."""
    source = source if source.endswith("\n") else source + "\n"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    code = compile(source, filename, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = eval(code, names)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(result)


def names_in(source: str) -> tuple[list[str], list[str]]:
    """Return the global names that a cell binds and those that it uses; none if it is not Python.

    `from x import *` binds "*". Local variables do not count: they would make a cell need cells that it does not.
    """
    binds: set[str] = set()
    uses: set[str] = set()
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        symbols = list(global_symbols(symtable.symtable(source, "<cell>", "exec")))
        nodes = list(ast.walk(ast.parse(source)))
        binds = {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}
        binds |= {node.name for node in nodes if isinstance(node, ast.alias) and node.name == "*"}
        uses = {symbol.get_name() for symbol in symbols if symbol.is_referenced()}
        uses |= {
            node.target.id for node in nodes if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)
        }
    return sorted(binds)[:NAMES], sorted(uses)[:NAMES]


def global_symbols(table: symtable.SymbolTable) -> Iterator[symtable.Symbol]:
    """Yield the symbols of a cell that stand for global names, in whatever scope they occur."""
    top = table.get_type() == "module"
    yield from (symbol for symbol in table.get_symbols() if top or symbol.is_global())
    for inner in table.get_children():
        yield from global_symbols(inner)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeIsUp in the block after so many seconds; the trusted side kills what ignores it."""

    def stop(*_: Any) -> None:
        raise TimeIsUp(f"longer than {seconds:g} seconds")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)  # again and again, for code that catches the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def explained(error: BaseException) -> dict[str, Any]:
    """Return type, message and line of an exception, whatever its own methods do."""
    message = "(no message)"
    try:
        with time_limit(0.5):
            message = str(getattr(error, "msg", "") if type(error) in SYNTAX else error)[:TEXT]
    except BaseException:
        message = "(the message cannot be read)"
    line = 0
    with contextlib.suppress(BaseException):
        line = last_line(error)
    return {"type": type(error).__name__[:100], "message": str(message), "line": line}


def last_line(error: BaseException) -> int:
    """Return the last line of the student's code on the way to an exception, or 0."""
    line, frame = 0, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename.startswith("<cell"):
            line = frame.tb_lineno
        frame = frame.tb_next
    return line or getattr(error, "lineno", 0) or 0


def describe(value: Any) -> dict[str, Any]:
    """Return type name, whether it can be called, and the parameters of a function."""
    facts: dict[str, Any] = {"type": type(value).__name__, "callable": callable(value), "parameters": None}
    with contextlib.suppress(ValueError, TypeError):
        found = inspect.signature(value).parameters.values()
        facts["parameters"] = [[p.name, int(p.kind), p.default is not p.empty] for p in found]
    return facts


def seed_everything(seed: int) -> None:
    """Set every global source of random numbers, so that the same call gives the same result."""
    random.seed(seed)
    with contextlib.suppress(Exception):
        np.random.seed(seed % 2**32)  # noqa: NPY002 - student code uses it
        if (torch := sys.modules.get("torch")) is not None:
            torch.default_generator.manual_seed(seed)


def install_notebook_functions() -> None:
    """Let a student's own cells keep `check("q1")`, `@question` and `@probe`: here they do nothing."""

    def answered(*answers: Any) -> bool:
        return importlib.import_module("labkit.grading.student").answered(*answers)

    functions = {"check": lambda *_, **__: None, "question": lambda *_: lambda f: f, "probe": lambda f: f}
    vars(sys.modules["labkit.grading"]).update(functions, answered=answered)


def apply_limits(limits: dict[str, int]) -> None:
    """Limit this process for good; a limit that is lower already stays."""
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def prepare(settings: dict[str, Any]) -> None:
    """Import what the lab needs, then set the limits; no student code has run yet."""
    for name in settings["preload"]:
        importlib.import_module(name)
        if name == "torch":
            sys.modules["torch"].set_num_threads(1)
    os.chdir(os.environ.get("HOME", "/"))
    apply_limits(settings["limits"])


def serve(channel: wire.Channel) -> None:
    """Answer requests until the channel closes; an answer carries the number of its request."""
    number, payload = channel.receive()
    prepare(wire.decode(payload))
    worker = Worker()
    channel.send(number, wire.encode({}))
    while True:
        number, payload = channel.receive()
        channel.send(number, answer(worker, payload))


def answer(worker: Worker, payload: bytes | bytearray) -> bytes:
    """Do what one request asks for."""
    try:
        request = wire.decode(payload, remote=worker.resolve)
        if "sent" in request:
            request["args"], request["kwargs"] = wire.decode(request["sent"], remote=worker.resolve)
        return wire.encode(getattr(worker, f"do_{request['op']}")(request))
    except BaseException as error:
        return wire.encode({"error": explained(error)})


def main() -> None:
    """Serve on the socket whose number is the only argument."""
    install_notebook_functions()
    channel = wire.Channel(socket.socket(fileno=int(sys.argv[1])))
    os.register_at_fork(after_in_child=channel.close)  # a child that comes back here must not answer too
    with contextlib.suppress(wire.ChannelClosed):
        serve(channel)
    os._exit(0)  # threads of the student's do not keep the process alive
