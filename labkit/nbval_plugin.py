"""A pytest plugin that makes nbval strict: a cell passes only when its kernel says that it ran to the end.

nbval decides from the error messages that a kernel publishes and never reads the kernel's own verdict,
`execute_reply.status`. A cell whose error cannot be published therefore passes:
`assert False, "\\ud800"` (the text cannot be encoded), or any `assert` after the traceback formatter broke.
nbval also waits for the whole time limit when a kernel has died, and lets a cell pass that swallowed the
interrupt sent at the time limit.

Load it with `pytest_plugins = ["labkit.nbval_plugin"]` in the root conftest, or with `pytest -p labkit.nbval_plugin`.
"""

import time
from collections.abc import Generator
from queue import Empty
from typing import Any

import nbval.plugin
import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell

POLL_SECONDS = 1.0


class KernelDiedError(RuntimeError):
    """The kernel process ended while it ran a cell."""


class WatchedKernel(RunningKernel):
    """A kernel that keeps its last reply and notices at once when its process has ended."""

    last_reply: dict[str, Any] | None = None

    def execute_cell_input(self, cell_input: str, allow_stdin: bool | None = None) -> str:
        """Send the cell, forgetting the reply to the one before."""
        self.last_reply = None
        return super().execute_cell_input(cell_input, allow_stdin)

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """Wait for the reply to `msg_id` and keep it; raises Empty at the time limit, like nbval's own method."""
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            message = self._next_reply(deadline)
            if message and message["parent_header"].get("msg_id") == msg_id:
                break
        self.last_reply = message["content"]
        if self.last_reply["status"] == "aborted":
            raise RuntimeError("the kernel refused to run the cell")

    def _next_reply(self, deadline: float) -> dict[str, Any] | None:
        """Return the next message of the shell channel, or None after a second without one."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise Empty
        try:
            return self.get_message(stream="shell", timeout=min(POLL_SECONDS, left))
        except Empty:
            if not self.is_alive():
                raise KernelDiedError("the kernel died while it ran this cell") from None
        return None


def pytest_configure(config: pytest.Config) -> None:
    """Let nbval start our kernels instead of its own."""
    nbval.plugin.RunningKernel = WatchedKernel


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a cell that nbval let pass although the kernel reported an error or never replied."""
    result = yield
    if isinstance(item, IPyNbCell):
        require_success(item)
    return result


def require_success(cell: IPyNbCell) -> None:
    """Raise nbval's own error unless the kernel's reply to `cell` says "ok", or an exception was announced."""
    reply = cell.parent.kernel.last_reply
    if reply is None:
        limit = cell.config.option.nbval_cell_timeout
        cell.raise_cell_error(f"The cell ran longer than {limit:g} seconds and swallowed the interrupt")
    elif reply["status"] != "ok" and not cell.options["check_exception"]:
        cause = f"{reply.get('ename', 'an error')}: {reply.get('evalue', '')}".encode("ascii", "backslashreplace")
        cell.raise_cell_error(f"The kernel reported a failure that it did not publish: {cause.decode()}")
