"""Watch one run of a network: which module is called when, and every operation of torch between the modules."""

import contextlib
import math
import traceback
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from labkit import checks
from labkit.cost import operators
from labkit.cost.rules import Rule, Work, foldable, rule_for

LEAVES_TORCH = ("numpy", "__array__", "tolist", "data_ptr", "__dlpack__")  # what follows cannot be seen


class Unit:
    """A line of the table: a module, or the operations that a module without a line of its own does itself."""

    def __init__(self, name: str, kind: str, module: nn.Module | None = None) -> None:
        self.name, self.kind, self.module = name, kind, module
        self.rule: Rule | None = None if module is None else rule_for(module)
        self.place: float = math.inf  # of the first event, among all events
        self.calls = self.macs = self.biases = self.elementwise = self.n_inputs = self.n_outputs = 0
        self.input_shape: tuple[int, ...] = ()
        self.shape: tuple[int, ...] = ()
        self.unknown: dict[str, None] = {}  # a set in the order of the calls

    def called(self, place: int, inputs: Iterable[Any], output: Any) -> None:
        """Note one call: the shapes of its first input and its first output, the elements of all."""
        given, made = list(_tensors(inputs)), list(_tensors([output]))
        self.place, self.calls = min(place, self.place), self.calls + 1
        self.n_inputs += sum(t.numel() for t in given)
        self.n_outputs += sum(t.numel() for t in made)
        self.input_shape = tuple(given[0].shape[1:]) if given else ()
        self.shape = tuple(made[0].shape[1:]) if made else ()

    def add(self, work: Work) -> None:
        """Add up what a call takes."""
        self.macs += work.macs
        self.biases += work.biases
        self.elementwise += work.elementwise

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of this line; those of children have lines of their own unless a rule covers them."""
        return iter(()) if self.module is None else self.module.parameters(recurse=self.rule is not None)


class Tracer:
    """Runs a network once and keeps a `Unit` for each module that has a line and for each loose operation."""

    def __init__(self, model: nn.Module, *, fold: bool) -> None:
        self.model, self.fold = model, fold
        self.names = {id(module): name or type(module).__name__ for name, module in model.named_modules()}
        self._lines = {id(m): Unit(self.names[id(m)], type(m).__name__, m) for m in _find(model, set())}
        self._loose: dict[str, Unit] = {}
        self._stack: list[nn.Module] = [model]
        self._ruled = 0  # how many of the modules that are running have a rule
        self._events = 0
        self._fresh: dict[int, tuple[Any, int]] = {}  # outputs of layers that a batch normalisation may fold into

    @property
    def units(self) -> list[Unit]:
        """The lines in the order in which they came up; modules that were never called are last."""
        return sorted([*self._lines.values(), *self._loose.values()], key=lambda unit: unit.place)

    def run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Run the model without gradients in evaluation mode; everything is put back as it was.

        Raises ValueError, with the name of the module that failed, if the inputs do not fit.
        """
        hooks = [hook for module in self.model.modules() for hook in self._hooks(module)]
        try:
            with checks.evaluating(self.model), _plain_attention(), _Operators(self), _Escapes(self):
                self.model(*args, **kwargs)
        except Exception as error:  # whatever a stranger's forward raises, the caller must learn where
            raise ValueError(self._complaint(args, kwargs, error)) from error
        finally:
            for hook in hooks:
                hook.remove()

    def operation(self, function: Any, args: tuple[Any, ...], output: Any) -> None:
        """Note an operation outside of the modules that have a rule."""
        if self._ruled:
            return
        work = operators.work(function, args, output)
        if work is None:
            self.unknown(function._schema.name.removeprefix("aten::"))
        elif work != operators.NOTHING:
            unit = self._owner(function._schema.name.removeprefix("aten::").strip("_"))
            if unit.module is None:
                unit.called(self._next(), args, output)
            unit.add(work)

    def unknown(self, name: str) -> None:
        """Note an operation whose cost is not known."""
        if not self._ruled:
            unit = self._owner(name)
            unit.place = min(unit.place, self._next())
            unit.unknown[name] = None

    def _owner(self, name: str) -> Unit:
        """Return the line of the module that is running, or a new line for its loose operations of this name."""
        module = self._stack[-1]
        if id(module) in self._lines:
            return self._lines[id(module)]
        return self._loose.setdefault(key := f"{self.names.get(id(module), '?')}:{name}", Unit(key, name))

    def _hooks(self, module: nn.Module) -> list[Any]:
        return [
            module.register_forward_pre_hook(lambda m, args: self._enter(m)),
            module.register_forward_hook(self._leave, with_kwargs=True, always_call=True),
        ]

    def _enter(self, module: nn.Module) -> None:
        self._stack.append(module)
        self._ruled += self._rule(module) is not None

    def _leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self._stack.pop()
        rule = self._rule(module)
        self._ruled -= rule is not None
        failed = output is None  # the hook is also called after an error, which the forward above may catch
        if id(module) in self._lines and not self._ruled and not failed:
            inputs = [*args, *kwargs.values()]
            unit = self._lines[id(module)]
            unit.called(self._next(), inputs, output)
            unit.add(self._work(module, rule, inputs, output) if rule else operators.NOTHING)

    def _work(self, module: nn.Module, rule: Rule, inputs: list[Any], output: Any) -> Work:
        x = inputs[0]
        if self.fold and isinstance(module, nn.modules.batchnorm._NormBase) and self._is_fresh(x):
            return Work(biases=output.numel()) if rule(module, x, output).macs else rule(module, x, output)
        if foldable(module):
            self._fresh[id(output)] = weakref.ref(output), _version(output)
        return rule(module, x, output)

    def _is_fresh(self, x: torch.Tensor) -> bool:
        """Say whether x is, unchanged, the output of a convolution or linear layer."""
        maker, version = self._fresh.get(id(x), (lambda: None, 0))
        return maker() is x and version == _version(x)

    def _rule(self, module: nn.Module) -> Rule | None:
        return self._lines[id(module)].rule if id(module) in self._lines else None

    def _next(self) -> int:
        self._events += 1
        return self._events

    def _complaint(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception) -> str:
        shapes = ", ".join(str(tuple(t.shape)) for t in _tensors([*args, *kwargs.values()]))
        frames = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
        module = [m for m in frames if id(m) in self.names][-1:] or [self.model]
        place = f"{self.names[id(module[0])]!r} ({type(module[0]).__name__})"
        return f"example_inputs of shape {shapes} cannot be run: {place} raised {type(error).__name__}: {error}"


class _Operators(TorchDispatchMode):
    """Passes every ATen operation on to the tracer."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.tracer.operation(func, args, output)
        return output


class _Escapes(TorchFunctionMode):
    """Notices where a forward leaves torch, for NumPy or a compiled kernel."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := getattr(func, "__name__", "")) in LEAVES_TORCH:
            self.tracer.unknown(name)
        return func(*args, **(kwargs or {}))


def _find(module: nn.Module, seen: set[int]) -> Iterator[nn.Module]:
    """Yield the modules that get a line: those with a rule, those without children, those with own parameters."""
    if id(module) in seen:
        return
    seen.add(id(module))
    whole = rule_for(module) is not None or not any(True for _ in module.children())
    if whole or any(True for _ in module.parameters(recurse=False)):
        yield module
    if not whole:
        for child in module.children():
            yield from _find(child, seen)


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """Yield the tensors among values, in tuples, lists and dicts as well."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, nn.utils.rnn.PackedSequence):
            yield value.data
        elif isinstance(value, tuple | list | Mapping):
            yield from _tensors(value.values() if isinstance(value, Mapping) else value)


def _version(x: torch.Tensor) -> int:
    return 0 if x.is_inference() else x._version


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Switch off torch's fused attention layers, whose parts cannot be seen."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
