"""Provenance: where one dataset came from, in a repository of many quanta.

The run is as after its end: its plan is kept, every quantum is in the journal with its files, all outputs are
registered. It is written down rather than executed, since executing a million takes an hour; files are not
there. What is measured is a call in a process that has imported everything and opened nothing: it opens the
repository, finds the dataset, its run, the quantum in the plan and its attempts in the journal.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import harness

__all__ = ["SIZES", "figures"]

SIZES = (100_000,)
_BATCH = 5_000


def write_down(root: str, plan_file: str) -> dict[str, int]:
    """Leave a repository as if a plan had been run in it; return the number of quanta and datasets."""
    from executors.driving.driver import Driver, Options
    from executors.journal.journal import encode_attempt, encode_start
    from executors.outcome import Attempt, QuantumStatus
    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.repository import Butler
    from supertask.rows import FileRecord

    plan = ScienceDag.load(plan_file)
    n_datasets = 0
    with Butler(root) as butler, Driver(plan, butler, options=Options(bundles=False)) as driver:
        place = driver.datastore.location_for
        run = plan.meta.output_run
        checksum = "blake2b:" + "0" * 32
        for first in range(0, plan.n_quanta, _BATCH):
            records: list[FileRecord] = []
            for record in plan.records(range(first, min(first + _BATCH, plan.n_quanta))):
                files = tuple(
                    FileRecord(d, place(type(d), d.dataId, run), 1, checksum, record.identities[d])
                    for datasets in record.quantum.outputs.values()
                    for d in datasets
                )
                attempt = Attempt(
                    index=record.index, identity=record.identity, label=record.label, records=files,
                    status=QuantumStatus.SUCCEEDED, host="here", pid=1, start=1, end=2,
                )  # fmt: skip
                lines = (
                    encode_start(record.index, record.identity.hex(), 1, 1),
                    encode_attempt(attempt, driver.header),
                )
                driver.journal.write(*lines)
                records += files
            butler.register(run, records)
            n_datasets += len(records)
    return {"quanta": plan.n_quanta, "datasets": n_datasets}


def index(root: str, run: str) -> dict[str, float]:
    """Make the index of a journal; return the CPU seconds that it took."""
    from executors.journal.index import index_journal
    from executors.journal.runfolder import RunFolder

    with harness.measured() as cost:
        index_journal(RunFolder(root, run))
    return {"cpu": cost.cpu}


def ask(root: str, run: str, rounds: int) -> dict[str, float]:
    """Ask where datasets of three types came from; return the median milliseconds of CPU for one."""
    from executors.lineage.trace import provenance
    from supertask.butler.repository import Butler

    with Butler(root, writeable=False) as butler:
        types = [butler.dataset_types()[name] for name in ("calexp", "coadd", "warp")]
        chosen = [butler.query(t, collections=[run]) for t in types]
    handles = [found[(i * 7919) % len(found)] for i in range(rounds + 1) for found in chosen]
    costs = []
    for handle in handles:
        began = time.process_time()
        with Butler(root, writeable=False) as butler:
            found = provenance(butler, handle, collections=[run])
        costs.append((time.process_time() - began) * 1e3)
        assert found.made_by(found.root) is not None, found.problems
        assert len(found.made_by(found.root).attempts) == 1  # type: ignore[union-attr]
    return {"ms": statistics.median(costs[len(types) :]), "most": max(costs[len(types) :])}


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield what it costs in a repository of about `size` quanta."""
    from benchmarks.preflight import build
    from benchmarks.workload import make_repository, visits_for
    from graphbuilder.dag.dag import ScienceDag

    with tempfile.TemporaryDirectory(prefix="provenance-") as folder:
        root, plan = (str(Path(folder) / name) for name in ("repo", "plan.h5"))
        make_repository(root, visits_for(size)).close()
        harness.fresh(build, root, plan, False)
        quanta = harness.fresh(write_down, root, plan).value["quanta"]
        run = ScienceDag.open(plan).meta.output_run
        cost = harness.fresh(index, root, run).value["cpu"]
        yield harness.Figure("identity.journal_index_us_per_quantum", quanta, cost / quanta * 1e6, "us")
        found = harness.fresh(ask, root, run, repeat).value
        yield harness.Figure("identity.provenance_ms", quanta, found["ms"], "ms", 50.0)
        yield harness.Figure("identity.provenance_most_ms", quanta, found["most"], "ms")


harness.run(__name__)
