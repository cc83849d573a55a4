"""Plan in several processes, each a shard, and put the shards together in one file.

Each process is a fresh interpreter that is told what to plan as JSON, so nothing is pickled and no
database connection is inherited; it writes its shard's plan file. One that fails stops the others.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from graphbuilder.builder import GraphBuilder
from graphbuilder.comparing.plankeys import Translation
from graphbuilder.comparing.restrict import labels_of
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.merge import merge
from graphbuilder.expressions.bindvalues import to_plain
from graphbuilder.expressions.language import parse
from graphbuilder.reuse.planning import Reuse, reused
from graphbuilder.shards import Shard, check_divisible, check_within
from supertask.butler.repository import Butler
from supertask.errors import EmptyPlanError, PreflightError, SuperTaskError
from supertask.pipelines.pipeline import Pipeline
from supertask.repograph.space import UnitSpace

__all__ = ["plan_in_shards"]


def plan_in_shards(
    builder: GraphBuilder,
    path: Path | str,
    *,
    by: str,
    shards: int | None = None,
    processes: int | None = None,
    where: str = "",
    bind: Mapping[str, Any] | None = None,
    tasks: Iterable[str] = (),
    reuse: Reuse | None = None,
) -> ScienceDag:
    """Work out a plan in parallel and save it.

    Parameters
    ----------
    builder : GraphBuilder
        Pipeline, Butler and output run; the Butler must be a repository on disk, and its tasks importable.
    path : Path or str
        The plan file to write.
    by : str
        Unit to divide by, such as ``"tract"``.
    shards : int, optional
        Into how many; as many as processes unless given. More of them need less memory each.
    processes : int, optional
        How many at once; as many as there are CPUs unless given.
    where : str, optional
        Data-ID expression.
    bind : Mapping, optional
        Values for names in it, such as JSON can carry.
    tasks : iterable of str, optional
        Plan these alone, as `GraphBuilder.makeGraph` does.
    reuse : Reuse, optional
        Leave out what earlier runs made already; what that is is told of the whole plan, after the merge.

    Returns
    -------
    ScienceDag
        The plan, opened from its file; the same quanta, datasets and identities as planned in one piece.

    Raises
    ------
    PreflightError
        The pipeline cannot be divided by that unit, or a shard cannot be planned.
    ExpressionError
        The expression cannot be understood.
    EmptyPlanError
        There is nothing to do in any shard.
    """
    if not isinstance(builder.butler, Butler):
        raise PreflightError("shards are planned by other processes: that needs a repository on disk")
    words = tuple(tasks)
    pipeline = (
        builder.pipeline.select(*labels_of(builder.pipeline, words)) if words else builder.pipeline.copy()
    )
    pipeline.check(builder.butler.model)
    parse(where, builder.butler.model, bind=bind)
    check_divisible(pipeline, builder.butler.model, by)
    for taskdef in pipeline.values():
        if taskdef.task_class.__module__ == "__main__":
            raise PreflightError(
                f"task {taskdef.label!r} is defined in the script that runs: other processes cannot import "
                "it; move it to a module"
            )
    processes = processes or os.cpu_count() or 1
    count = shards or processes
    if count < 1 or processes < 1:
        raise PreflightError("give at least one shard and one process")
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix=f".tmp-{path.name}-", dir=path.parent) as folder:
        parts = [Path(folder) / f"shard-{i}.h5" for i in range(count)]
        said = {
            "root": str(builder.butler.root),
            "pipeline": pipeline.to_dict(),
            "collections": list(builder.collections),
            "output_run": builder.output_run,
            "where": where,
            "bind": to_plain(bind or {}),
            "identity": builder.identity,
        }
        jobs = [
            {**said, "path": str(part), "shard": attrs.asdict(Shard(by, i, count))}
            for i, part in enumerate(parts)
        ]
        _plan_all(jobs, processes)
        planned = [part for part in parts if part.exists()]
        if not planned:
            raise EmptyPlanError(f"no shard by {by} has anything to do; plan in one piece to see why", ())
        dag = merge(planned, Path(folder))
        dag.meta = attrs.evolve(dag.meta, command=shlex.join(sys.argv))
        if reuse is not None:
            pipeline.sort()
            _number_units(dag, builder.butler)
            dag = reused(dag, builder.butler, reuse, pipeline)
        dag.save(path)
    return ScienceDag.open(path)


def _number_units(dag: ScienceDag, butler: Butler) -> None:
    """Give the units of a merged plan the repository's row IDs, which plan files do not keep."""
    space = dag.space
    with butler.reader() as reader:
        now = UnitSpace.from_rows(space.model, [reader.units(u, ()) for u in space.model.sort(space.tables)])
    translation = Translation(now, space)
    for unit, table in space.tables.items():
        ids = now.tables[unit].ids
        if ids is not None and len(ids):
            codes = translation.unit(unit)
            space.tables[unit] = attrs.evolve(table, ids=np.where(codes < 0, -1, ids[codes]))


def _plan_all(jobs: list[dict[str, Any]], processes: int) -> None:
    """Run the processes, so many at once; at the first failure stop all and raise what it said."""
    running: set[subprocess.Popen[str]] = set()
    lock, stop = threading.Lock(), threading.Event()

    def plan(job: dict[str, Any]) -> None:
        with lock:
            if stop.is_set():
                return
            child = subprocess.Popen(
                [sys.executable, "-m", "graphbuilder.sharding"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )
            running.add(child)
        out, err = child.communicate(json.dumps(job))
        with lock:
            running.discard(child)
        if child.returncode and not stop.is_set():
            answer = _last_answer(out)
            shard = Shard(**job["shard"])
            if answer is None:
                raise PreflightError(f"{shard} ended with code {child.returncode}: {err.strip()[-2000:]}")
            raise PreflightError(f"{shard}: {answer}")

    with ThreadPoolExecutor(processes) as pool:
        futures = [pool.submit(plan, job) for job in jobs]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            with lock:
                failed = not all(f.done() and not f.exception() for f in futures)
                if failed:
                    stop.set()
                    for child in running:
                        child.terminate()
    for future in futures:
        future.result()


def _last_answer(out: str) -> str | None:
    try:
        return str(json.loads(out.splitlines()[-1])["error"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def _plan_one(job: dict[str, Any]) -> None:
    """Be the process that plans one shard; a shard with nothing to do writes no file."""
    with Butler(job["root"]) as butler:
        builder = GraphBuilder(
            Pipeline.from_dict(job["pipeline"]),
            butler,
            output_run=job["output_run"],
            collections=job["collections"],
            identity=job["identity"],
        )
        shard = Shard(**job["shard"])
        try:
            dag = builder.makeGraph(job["where"], bind=job["bind"], shard=shard)
        except EmptyPlanError:
            return
        check_within(dag, builder.pipeline, shard)
        dag.save(job["path"])


if __name__ == "__main__":
    try:
        _plan_one(json.load(sys.stdin))
    except SuperTaskError as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        raise SystemExit(1) from None
