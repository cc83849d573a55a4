"""Identity: what it costs to identify a plan's quanta, and to find out that nothing changed since a run.

The outputs of a whole plan are registered as a run would have left them, without being made. Then the same is
planned again, with and without looking at what is there: the difference is what finding out costs. Beside it
stands experimaestro's check of jobs that are done, where its programs are to be had (see `benchmarks.peers`).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.peers import experimaestro

__all__ = ["SIZES", "figures"]

SIZES = (100_000, 1_000_000)
# Files are looked for one folder after another; past this size making them takes longer than it is worth.
FILES_AT_MOST = 100_000
_RUN = "u/bench/first"
_CHUNK = 50_000


def identify(plan: str) -> dict[str, float]:
    """Identify the quanta of a plan once more; return CPU seconds and whether they are those in the file."""
    from benchmarks.workload import pipeline
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.dag.identity import FieldInput, quantum_identities, unit_digests
    from graphbuilder.quiet import undisturbed

    dag = ScienceDag.load(plan)
    configs = {d.label: d.config for d in pipeline().values()}
    begin = time.process_time()
    with undisturbed():  # as planning is
        digests = {u: unit_digests(dag.space, u) for t in dag.quantum_tables for u in t.columns}
        made = []
        for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
            fields = {f.dataset_type: name for name, f in configs[node.label].dataset_fields.items()}
            inputs = [
                FieldInput(fields[t], edges, lambda rows, t=t: dag.dataset_identities(t, rows))  # type: ignore[misc]
                for t, edges in table.inputs.items()
            ]
            made.append(quantum_identities(node.key, table, inputs, digests.__getitem__))
    cpu = time.process_time() - begin
    return {"cpu": cpu, "quanta": dag.n_quanta, "same": bool((np.concatenate(made) == dag.identities).all())}


def build(root: str, plan: str, look: str) -> dict[str, float]:
    """Plan everything; `look` is how closely to look at what is there, empty for not at all."""
    from benchmarks.workload import pipeline
    from graphbuilder.builder import GraphBuilder
    from graphbuilder.reuse.planning import Check, Reuse
    from supertask.butler.repository import Butler

    begin = time.process_time()
    with Butler(root) as butler:
        reuse = Reuse(check=Check(look)) if look else None
        dag = GraphBuilder(pipeline(), butler, "u/bench/second", collections=["raw/all", "calib"]).makeGraph(
            reuse=reuse
        )
        dag.save(plan)
    return {"quanta": dag.n_quanta, "cpu": time.process_time() - begin}


def _as_if_run(root: str, plan: str, *, files: bool) -> None:
    """Register what a plan makes, and make empty files where these are to be looked for."""
    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.port import CollectionKind
    from supertask.butler.repository import Butler
    from supertask.rows import FileRecord

    dag = ScienceDag.load(plan)
    with Butler(root) as butler:
        butler.create_collection(_RUN, CollectionKind.RUN)
        for dataset_type in dag.producers:
            butler.register_type(dataset_type)
            for begin in range(0, dag.datasets[dataset_type].n, _CHUNK):
                rows = np.arange(begin, min(begin + _CHUNK, dag.datasets[dataset_type].n))
                digests = dag.dataset_identities(dataset_type, rows).tobytes()
                records = [
                    FileRecord(h, butler.location_for(h, _RUN), 0, "", digests[16 * i : 16 * i + 16])
                    for i, h in enumerate(dag.datasets[dataset_type].at(rows))
                ]
                butler.register(_RUN, records)
                for record in records if files else ():
                    path = Path(root) / record.location
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield microseconds of CPU per quantum."""
    from benchmarks.workload import make_repository, visits_for

    with tempfile.TemporaryDirectory(prefix="identity-") as folder:
        root, plan, other = (str(Path(folder) / name) for name in ("repo", "plan.h5", "other.h5"))
        make_repository(root, visits_for(size)).close()
        quanta = int(harness.fresh(build, root, plan, "").value["quanta"])

        def each(runs: list[harness.Fresh]) -> float:
            return statistics.median(float(r.value["cpu"]) for r in runs) / quanta * 1e6

        again = [harness.fresh(identify, plan) for _ in range(repeat)]
        assert again[0].value["same"], "the identities are others than those of the plan"
        yield harness.Figure("identity.us_per_quantum", quanta, each(again), "us", 1.0)
        with_files = quanta <= FILES_AT_MOST * 1.1
        _as_if_run(root, plan, files=with_files)
        runs: dict[str, list[harness.Fresh]] = {"": [], "registry": []}
        if with_files:
            runs["files"] = []
        for _ in range(repeat):
            for look, found in runs.items():
                found.append(harness.fresh(build, root, other, look))
                assert found[-1].value["quanta"] == (0 if look else quanta), "something changed"
        plain = each(runs[""])
        more = each(runs["registry"]) - plain
        yield harness.Figure("identity.planning_us_per_quantum", quanta, plain, "us")
        yield harness.Figure("identity.nothing_changed_us_per_quantum", quanta, more, "us", 3.0)
        if with_files:
            yield harness.Figure(
                "identity.nothing_changed_with_files_us_per_quantum",
                quanta,
                each(runs["files"]) - plain,
                "us",
            )
        theirs = experimaestro.warm_us_per_job()
        if theirs is not None:
            yield harness.Figure(
                "identity.nothing_changed_us_beside_experimaestro", quanta, more, "us", theirs
            )


harness.run(__name__)
