"""Runs many jobs: on this machine, several runs of the engine side by side, or on a cluster."""

import contextlib
import math
import threading
from collections import deque
from collections.abc import Generator, Sequence
from queue import SimpleQueue

from labkit import checks
from labkit.grading.cluster import run_on_cluster
from labkit.grading.engine import Batch, Outcome, kill_tree
from labkit.grading.job import Job

CLUSTER = "dask://"
Done = tuple[int, Outcome]
Task = tuple[list[int], bool]  # the numbers of some jobs, and whether a failure of the engine may be tried again


def run_all(jobs: Sequence[Job], *, workers: int | str = 1, batch: int = 16) -> Generator[Done, None, None]:
    """Yield (number of a job, outcome) as they are done, in any order.

    workers : how many runs at the same time, or "dask://HOST:PORT"; batch : the most jobs of one run
    Close the iterator to end all runs with everything that they started.
    """
    address = cluster_of(workers)
    if address is not None:
        return run_on_cluster(jobs, address, batch)
    n = int(workers)
    return Pool(jobs).run(n, max(1, min(batch, math.ceil(len(jobs) / (2 * n)))))


def cluster_of(workers: int | str) -> str | None:
    """Return the HOST:PORT of a cluster, None for a number of workers here; raises ValueError for anything else."""
    if not isinstance(workers, str):
        checks.integer(workers, "workers", low=1)
        return None
    if not workers.startswith(CLUSTER):
        raise ValueError(f"workers must be a number or '{CLUSTER}HOST:PORT', got {workers!r}")
    return workers.removeprefix(CLUSTER)


class Pool:
    """Threads that each take a batch of jobs, wait for its run, and take the next."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.tasks: deque[Task] = deque()
        self.done: SimpleQueue[Done | BaseException | None] = SimpleQueue()
        self.live: set[Batch] = set()
        self.stopped = False
        self.lock = threading.Lock()

    def run(self, workers: int, size: int) -> Generator[Done, None, None]:
        """Yield the outcomes."""
        numbers = range(len(self.jobs))
        self.tasks.extend((list(numbers[i : i + size]), True) for i in numbers[::size])
        threads = [threading.Thread(target=self.work, daemon=True) for _ in range(min(workers, len(self.tasks)))]
        for thread in threads:
            thread.start()
        try:
            left = len(self.jobs)
            while left and not self.stopped:
                item = self.done.get()
                if isinstance(item, BaseException):
                    raise item
                if item is not None:
                    yield item
                    left -= 1
        finally:
            self.stop()
            for thread in threads:
                thread.join()

    def work(self) -> None:
        """Do tasks until there are none."""
        try:
            while self.tasks and not self.stopped:
                with contextlib.suppress(IndexError):  # another thread took it
                    self.do(*self.tasks.popleft())
        except BaseException as error:
            self.done.put(error)

    def do(self, numbers: list[int], retry: bool) -> None:
        """Run one batch; jobs that the engine did not finish run once more, each by itself."""
        batch = Batch([self.jobs[i] for i in numbers])
        with self.lock:
            self.live.add(batch)
        try:
            for i, outcome in batch if not self.stopped else ():
                if retry and not outcome.get("notes"):
                    self.tasks.append(([numbers[i]], False))
                else:
                    self.done.put((numbers[i], outcome))
        finally:
            with self.lock:
                self.live.discard(batch)
                batch.close()

    def stop(self) -> None:
        """End all runs; `run` then ends, too."""
        with self.lock:
            self.stopped = True
            for batch in self.live:
                if batch.popen.poll() is None:
                    kill_tree(batch.popen.pid)
        self.done.put(None)
