"""Grading on a Dask cluster, for a class that is too large for one machine. Needs the extra `labkit[cluster]`.

Every machine of the cluster has this version of labkit and the same packages. A job carries all that it needs, so no
file is shared; what the engine finds comes back as plain data.
"""

import contextlib
from collections.abc import Generator, Sequence
from typing import Any

from labkit.grading import isolation
from labkit.grading.engine import Outcome, run_jobs
from labkit.grading.errors import LabError
from labkit.grading.job import Job

Done = tuple[int, Outcome]
CONNECT = "10s"


def run_on_cluster(jobs: Sequence[Job], address: str, batch: int) -> Generator[Done, None, None]:
    """Yield (number of a job, outcome) as they are done on the cluster whose scheduler is at HOST:PORT."""
    with contextlib.closing(connect(address)) as client:
        starts = range(0, len(jobs), batch)
        futures = {client.submit(run_jobs, jobs[i : i + batch], pure=False, retries=1): i for i in starts}
        try:
            yield from _collect(futures, client.loop)
        finally:
            client.cancel(list(futures))


def _collect(futures: dict[Any, int], loop: Any) -> Generator[Done, None, None]:
    from distributed import as_completed

    for future in as_completed(list(futures), loop=loop):
        yield from enumerate(future.result(), start=futures[future])


def cluster_rung(address: str) -> isolation.Rung:
    """Return the isolation that the machines of a cluster offer; raises LabError if they differ."""
    with contextlib.closing(connect(address)) as client:
        offered = client.run(isolation.probe)
    if not offered:
        raise LabError(f"the cluster at {address} has no workers")
    names = sorted({rung.name for rung in offered.values()})
    if len(names) > 1:
        raise LabError(f"the machines of the cluster offer different isolation ({', '.join(names)}); make them alike")
    return next(rung for rung in isolation.RUNGS if rung.name == names[0])


def connect(address: str) -> Any:
    """Return a client of the scheduler at HOST:PORT; raises LabError if Dask is missing or nobody answers."""
    try:
        from distributed import Client
    except ImportError:
        raise LabError("grading on a cluster needs Dask: pip install 'compression-labkit[cluster]'") from None
    try:
        return Client(f"tcp://{address}", timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise LabError(f"no Dask scheduler answers at {address}: {error}") from error
