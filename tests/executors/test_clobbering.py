"""Plans that replace what their output run holds: what goes is stated, noted, and gone once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from executors.inprocess import InProcessFramework
from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.reuse.clobber import replaced_datasets
from graphbuilder.reuse.planning import Reuse
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError, PreflightError
from tests.executors.coadds import counts, make_repository, pipeline, plan

ROOT = Path(__file__).parents[2]
RUN = "u/first"


@pytest.fixture
def first(tmp_path):
    """One run of everything."""
    with make_repository(tmp_path / "repo") as butler:
        assert run(butler, plan(butler, RUN)).exit_code == 0
        yield butler


def run(butler, dag):
    return InProcessFramework().execute(dag, butler)


def over(butler, where="", *, tasks=(), reuse=None, **configured):
    builder = GraphBuilder(pipeline(**configured), butler, RUN, collections=["raw"])
    return builder.makeGraph(where, reuse=reuse, tasks=tasks, clobber=True)


def kernels(butler):
    return {butler.get(d)[0] for d in butler.query("warp", collections=[RUN])}


def files(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*.json") if ".supertask" not in p.parts}


def test_without_clobber_a_run_is_written_once(first):
    dag = plan(first, RUN, kernel="bilinear")
    with pytest.raises(ExecutionError, match="write again, differently"):
        run(first, dag)
    assert kernels(first) == {"lanczos3"}


def test_what_is_replaced_is_stated_and_replaced(first, tmp_path):
    before = files(tmp_path / "repo")
    dag = over(first, kernel="bilinear")
    assert dag.meta.replaces.datasets == {"image": 6, "warp": 6, "coadd": 4, "catalogue": 4}
    assert dag.meta.replaces.size > 0
    assert len(replaced_datasets(dag, first)) == 20
    dag.save(tmp_path / "plan.h5")
    dag = ScienceDag.open(tmp_path / "plan.h5")
    assert dag.meta.replaces.count == 20
    assert run(first, dag).exit_code == 0
    assert kernels(first) == {"bilinear"}
    assert first.get("warp_config")["kernel"] == "bilinear"
    assert files(tmp_path / "repo") == before


def test_only_what_changed_is_replaced_where_the_rest_is_reused(first):
    dag = over(first, reuse=Reuse(), kernel="bilinear")
    assert counts(dag) == {"warp": 6, "coadd": 4, "catalogue": 4}
    assert dag.meta.replaces.datasets == {"warp": 6, "coadd": 4, "catalogue": 4}
    assert run(first, dag).exit_code == 0
    assert kernels(first) == {"bilinear"}
    assert len(first.query("image", collections=[RUN])) == 6


def test_a_plan_run_again_replaces_nothing_again(first, tmp_path):
    dag = over(first)
    assert run(first, dag).exit_code == 0
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "repo" / RUN).rglob("*.json")}
    assert run(first, dag).exit_code == 0
    assert made == {p: p.stat().st_mtime_ns for p in (tmp_path / "repo" / RUN).rglob("*.json")}


def test_the_same_again_is_made_again_where_it_is_asked_for(first):
    seen = []
    for _ in range(2):
        assert run(first, over(first)).exit_code == 0
        folder = Path(first.root) / ".supertask" / "runs" / RUN / "journal"
        seen.append(sum(p.read_text().count('"event":"end"') for p in folder.glob("*.jsonl")))
    assert seen == [40, 60]


def test_the_plan_whose_outputs_were_replaced_is_refused_afterwards(first):
    old = plan(first, RUN)
    assert run(first, over(first, kernel="bilinear")).exit_code == 0
    with pytest.raises(ExecutionError, match="write again, differently"):
        run(first, old)
    assert kernels(first) == {"bilinear"}


def test_a_part_of_another_config_is_refused(first):
    with pytest.raises(PreflightError, match=r"warp: 4 'warp' made with another config"):
        over(first, "visit = 1", tasks=["..warp"], kernel="bilinear")
    dag = over(first, "visit = 1", tasks=["..warp"])
    assert dag.meta.replaces.datasets == {"image": 2, "warp": 2}


def test_into_a_new_run_nothing_is_replaced(first):
    dag = GraphBuilder(pipeline(), first, "u/new", collections=["raw"]).makeGraph(clobber=True)
    assert dag.meta.replaces.datasets == {}
    assert run(first, dag).exit_code == 0


KILLED = """
import os, sys
from executors.inprocess import InProcessFramework
from supertask.butler.repository import Butler
import executors.keeping.clobbering as clobbering, executors.keeping.collect as collect
from tests.executors import coadds

left = int(sys.argv[3])

def die_after(function):
    def called(*args, **kwargs):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        found = function(*args, **kwargs)
        if left == 0:
            os._exit(9)
        return found
    return called

clobbering.Journal.write = die_after(clobbering.Journal.write)
clobbering.sweep = die_after(clobbering.sweep)
Butler.remove = die_after(Butler.remove)
Butler.register = die_after(Butler.register)
with Butler(sys.argv[1]) as butler:
    sys.exit(InProcessFramework().execute(sys.argv[2], butler).exit_code)
"""


@pytest.mark.slow
def test_killed_anywhere_it_ends_as_if_it_had_not_been(tmp_path):
    with make_repository(tmp_path / "repo") as butler:
        assert run(butler, plan(butler, RUN)).exit_code == 0
    steps = [*range(1, 12), 20, 40, 60]
    deaths = 0
    for n, step in enumerate(steps):
        kernel = f"kernel{n}"
        with Butler(tmp_path / "repo") as butler:
            over(butler, kernel=kernel).save(tmp_path / "plan.h5")
        words = [sys.executable, "-c", KILLED, tmp_path / "repo", tmp_path / "plan.h5", str(step)]
        done = subprocess.run(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
        assert done.returncode in {0, 9}
        deaths += done.returncode == 9
        with Butler(tmp_path / "repo") as butler:
            assert run(butler, ScienceDag.load(tmp_path / "plan.h5")).exit_code == 0
            assert kernels(butler) == {kernel}
            assert len(butler.query("catalogue", collections=[RUN])) == 4
            assert len(files(tmp_path / "repo" / "u")) == 20
    assert deaths > 8


def test_a_run_whose_journal_was_lost_is_replaced_too(first):
    shutil.rmtree(Path(first.root) / ".supertask" / "runs" / RUN)
    dag = over(first, kernel="bilinear")
    assert dag.meta.replaces.count == 20
    assert run(first, dag).exit_code == 0
    assert kernels(first) == {"bilinear"}
    assert len(first.query("catalogue", collections=[RUN])) == 4


def test_where_nothing_is_to_run_nothing_is_replaced(first):
    dag = over(first, reuse=Reuse())
    assert (dag.n_quanta, dag.meta.replaces.count) == (0, 0)
    assert run(first, dag).exit_code == 0
    assert len(first.query("catalogue", collections=[RUN])) == 4
