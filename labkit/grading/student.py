"""What a lab notebook imports: `question`, `probe`, `check` and `answered`.

Here they run everything in the notebook itself and print what they find. At grading the same check cells run elsewhere,
with other versions of `question` and `probe` (see `labkit.grading.trusted`): nothing in this file decides a mark.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from labkit import checks
from labkit.grading.errors import LabError
from labkit.grading.model import Receipt
from labkit.grading.sheet import run_question

if TYPE_CHECKING:
    from labkit.grading.visible import Visible

Function = TypeVar("Function", bound=Callable)
VISIBLE_SEED = b"visible"

_questions: dict[str, dict[str, Callable]] = {}  # by question and by the name of the function


def question(name: str) -> Callable[[Function], Function]:
    """Decorate the function that checks question `name`; it runs at once, and again with `check(name)`.

    The function takes any of these arguments:

    check : `with check("what is tested", points=2): assert ...` is one named sub-check
    rng : a NumPy generator; always the same in a notebook, secret and new for each submission at grading
    reference : the instructor's own answers, `reference.truncated_svd`; in hidden tests only

    A question may have several functions, with different names.

    >>> double = lambda x: 2 * x
    >>> @question("q0")
    ... def _(check, rng):
    ...     with check("double(3) is 6"):
    ...         assert double(3) == 6
    q0: 1 of 1 checks pass here. Hidden checks run at grading.
      pass  double(3) is 6
    """
    if not isinstance(name, str):
        raise TypeError(f'question takes the name of the question, as in @question("q1"), got {name!r}')

    def register(function: Function) -> Function:
        allowed = {"check", "rng", "reference"}
        if not set(inspect.signature(function).parameters) <= allowed:
            raise TypeError(f"the function of {name} takes check, rng and reference, got {inspect.signature(function)}")
        _questions.setdefault(name, {})[function.__name__] = function
        _check_functions(name, [function])
        return function

    return register


def probe(function: Function) -> Function:
    """Decorate a function that looks at objects which cannot be sent, such as modules, and returns plain data.

    In a notebook it is an ordinary function. At grading it runs beside the student's code, with a copy of the
    student's names; its arguments and its result are plain data. It collects evidence and never gives a verdict.

    >>> @probe
    ... def parameters(n):
    ...     return [0.0] * n
    >>> parameters(2)
    [0.0, 0.0]
    """
    if not isinstance(function, FunctionType):
        raise TypeError(f"probe decorates a function, got {type(function).__name__}")
    return function


def check(name: str | Path) -> "Visible | None":
    """Run the checks of question `name` that this notebook holds and print the result; never raises for an answer.

    With the path of a released notebook, run all of it in a fresh kernel and return what its visible checks say, like
    the command `python -m labkit check`. Raises ValueError if the notebook has no such question or its check cell has
    not run yet.
    """
    if str(name).endswith(".ipynb"):
        return importlib.import_module("labkit.grading.visible").check_notebook(name)
    checks.choice(checks.instance(name, "name", str), "question", _questions or ["(run the check cell first)"])
    _check_functions(str(name), list(_questions[str(name)].values()))
    return None


def _check_functions(name: str, functions: Sequence[Callable]) -> None:
    missing = dict.fromkeys(open_name for function in functions for open_name in _unanswered(function))
    if missing:
        print(f"{name}: not answered yet ({', '.join(missing)} to write).")
        return
    receipts, error = _run(name, functions)
    print(
        f"{name}: {sum(r.passed for r in receipts)} of {len(receipts)} checks pass here. Hidden checks run at grading."
    )
    for receipt in receipts:
        print(f"  {'pass' if receipt.passed else 'FAIL'}  {receipt.check}")
        _indent(receipt.message)
    _indent(error and f"the checks stopped: {error}")


def run_visible(name: str) -> tuple[list[Receipt], str]:
    """Return the receipts of the checks that this notebook holds, and what stopped them, if anything did."""
    return _run(name, list(_questions[name].values()))


def _run(name: str, functions: Sequence[Callable]) -> tuple[list[Receipt], str]:
    namespace = SimpleNamespace(**{k: v for k, v in functions[0].__globals__.items() if k.isidentifier()})
    return run_question(functions, name, seed=VISIBLE_SEED, reference=namespace)


def answered(*answers: Any) -> bool:
    """Tell whether all these functions and values have been written: none is `...` or does nothing but `...`.

    A figure that needs an answer starts with `if answered(truncated_svd):`, so that an unfinished notebook still runs.

    >>> def todo(x):
    ...     "Explain."
    ...     ...
    >>> answered(len, 3), answered(todo)
    (True, False)
    """
    return not any(_is_stub(answer) for answer in answers)


def _documented_stub() -> None:
    """Do nothing."""


_STUBS = {_documented_stub.__code__.co_code, (lambda: None).__code__.co_code}


def _is_stub(answer: Any) -> bool:
    if not isinstance(answer, FunctionType):
        return answer is ...
    code = answer.__code__
    nothing = all(constant is None or isinstance(constant, str) for constant in code.co_consts)
    return code.co_code in _STUBS and nothing and code.co_consts[-1] is None


def _unanswered(function: Callable) -> Iterator[str]:
    """Yield the names in a question's function, and in the probes that it calls, that are still stubs."""
    names = dict.fromkeys(_names(function.__code__))
    for name in list(names):
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType) and value.__module__ == function.__module__:
            names |= dict.fromkeys(_names(value.__code__))
    return (name for name in names if _is_stub(function.__globals__.get(name)))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _indent(text: str) -> None:
    for line in text.splitlines():
        print(f"        {line}")


__all__ = ["LabError", "answered", "check", "probe", "question", "run_visible"]
