"""What Astra and Luigi did wrong with bundles and batches, and what is done here.

Each test names a misbehaviour that was seen there; `docs/explanation/bundles.md` has the list. They run
the task below, in process and in a pool.
"""

from __future__ import annotations

import inspect
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from executors.events import QuantumEnded, QuantumStarted
from executors.inprocess import InProcessFramework
from executors.journal.bundlerecords import bundle_records, bundles_of
from executors.journal.replay import replay
from executors.journal.report import status
from executors.journal.runfolder import RunFolder
from executors.journal.times import times_of
from executors.multiprocess import MultiprocessFramework
from executors.outcome import QuantumStatus
from executors.quanta.recreation import recreate
from graphbuilder import GraphBuilder, QuantumBatcher, ScienceDag
from graphbuilder.batching import texts
from graphbuilder.batching.parts import split
from supertask.butler.repository import Butler
from supertask.configs.config import field
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import ConfigError, ExecutionError, PreflightError
from supertask.pipelines.pipeline import Pipeline
from supertask.spreading import spread
from supertask.tasks.overheads import declared_overhead, overhead
from supertask.tasks.quantumparameters import Parameters, parameter
from supertask.tasks.supertask import SuperTask

RUN = "u/me/run"
STAR = Dataset.subclass("star", ("visit",), "json")
GRID = Dataset.subclass("atlas", ("visit",), "json")
N = 6
PAUSE = 0.05
SUCCEEDED, FAILED = QuantumStatus.SUCCEEDED, QuantumStatus.FAILED


class StarParameters(Parameters):
    model: Any = parameter("main", overhead=True, doc="The model.")
    guess: tuple[float, ...] = parameter((5777.0, 4.4), doc="Where to begin.")
    threads: int = parameter(1, meta=True, doc="How many to use.")


class FitConfig(SuperTaskConfig):
    quantum_units = ("visit",)
    star = InputField(("visit",), "json", doc="A star.")
    atlas = InputField(("visit",), "json", doc="A grid that several stars share.", overhead=True)
    labels = OutputField(("visit",), "json", doc="Its labels.")
    folder: str = field("", doc="Where calls are noted.", meta=True)
    trouble: str = field("", doc="What goes wrong.", meta=True)


GIVEN: dict[str, Any] = {}
"""What the task below gives its quanta; set by each test."""


class FitTask(SuperTask):
    ConfigClass = FitConfig
    ParametersClass = StarParameters
    _DefaultName = "fit"

    def defineQuanta(self, repoGraph: Any) -> Any:
        config = self.config
        stars = sorted(repoGraph.datasets[config.star], key=lambda d: d["visit"])
        grids = {d["visit"]: d for d in repoGraph.datasets[config.atlas]}
        of = GIVEN.get("grids", [1] * len(stars))
        values = {k: v for k, v in GIVEN.items() if k != "grids"}
        return spread(
            {config.star: stars, config.atlas: [grids[v] for v in of]},
            {config.labels: [repoGraph.addDataset(config.labels(s.dataId)) for s in stars]},
            self.ParametersClass,
            **values,
        )

    @overhead(config=("folder", "trouble"))
    def library(self, model: Any, atlas: Any) -> list[Any]:
        self.note("library", model, atlas)
        time.sleep(PAUSE)
        return [type(model).__name__, model, atlas]

    def runQuantum(self, quantum: Any, butler: Any) -> None:
        shared = self.library()
        self.note("run", quantum.dataId["visit"])
        (star,) = quantum.inputs[self.config.star]
        if self.config.trouble == f"raise {star['visit']}":
            raise ValueError("does not converge")
        (out,) = quantum.outputs[self.config.labels]
        butler.put({"shared": shared, "guess": quantum.parameters.guess, "star": butler.get(star)}, out)

    def note(self, *words: Any) -> None:
        with (Path(self.config.folder) / "calls").open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")


class DerivedTask(FitTask):
    """Declares nothing itself."""


class NewerTask(FitTask):
    version = "2"


class TogetherTask(FitTask):
    def runBundle(self, bundle: Any, butler: Any) -> None:
        for item in bundle:
            with item as (quantum, inputs, parameters):
                assert inputs.star == quantum.dataId["visit"]
                assert parameters is quantum.parameters
                self.runQuantum(quantum, item.butler)
                if self.config.trouble == f"break {quantum.dataId['visit']}":
                    break


class PassesTask(TogetherTask):
    def runBundle(self, bundle: Any, butler: Any) -> None:
        with bundle.stage("pre_execute"):
            for _ in range(2):
                for item in bundle:
                    with item:
                        time.sleep(0.002)
        with bundle.stage("execute"):
            super().runBundle(bundle, butler)


@pytest.fixture
def butler(tmp_path):
    with Butler.create(tmp_path / "repo", unit_model="imaging") as made:
        made.insert_units("instrument", [{"instrument": "Cam"}])
        made.insert_units("band", [{"band": "g"}])
        made.insert_units("physical_filter", [{"instrument": "Cam", "physical_filter": "G", "band": "g"}])
        visits = [{"instrument": "Cam", "visit": v, "physical_filter": "G"} for v in range(1, N + 1)]
        made.insert_units("visit", visits)
        for kind in (STAR, GRID):
            made.register_type(kind)
            for v in range(1, N + 1):
                made.put(v, kind(instrument="Cam", visit=v), run="raw/all")
        yield made
    GIVEN.clear()


@pytest.fixture
def plan(butler, tmp_path):
    def make(task=FitTask, *, size=N, run=RUN, trouble="", **given):
        GIVEN.clear()
        GIVEN.update(given)
        pipeline = Pipeline().add("fit", task, {"folder": str(tmp_path), "trouble": trouble})
        dag = GraphBuilder(pipeline, butler, output_run=run).makeGraph()
        return QuantumBatcher(size).batch(dag)

    return make


@pytest.fixture
def said(butler):
    """Give what a run wrote: visit → value."""

    def read(run=RUN):
        with Butler(butler.root, collections=(run,)) as made:
            return {d.dataId["visit"]: made.get(d) for d in made.query("labels")}

    return read


def bundles(dag):
    bundling = dag.bundling()
    return [bundling[b].tolist() for b in range(len(bundling))]


def calls(tmp_path, of=None):
    path = tmp_path / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(
        line.split()[0] if of is None else line for line in lines if of is None or line.startswith(of)
    )


# -- keys -------------------------------------------------------------------------------------------


def test_inherited_declarations_are_not_ignored(framework, butler, plan, said):
    """Astra looked at the class alone: different models fell into one bundle, which ran with the first's."""
    dag = plan(DerivedTask, model=["a", "b"] * 3)
    assert bundles(dag) == [[0, 2, 4], [1, 3, 5]]
    assert declared_overhead(DerivedTask, FitConfig()) == declared_overhead(FitTask, FitConfig())
    assert framework.execute(dag, butler).exit_code == 0
    assert {v: each["shared"][1] for v, each in said().items()} == dict(
        zip(range(1, 7), "ababab", strict=True)
    )


@pytest.mark.parametrize("task", [FitTask, TogetherTask])
def test_values_that_look_alike_are_not_one(framework, butler, plan, said, tmp_path, task):
    """Astra's key was text: 1 and "1" merged. Python's own equality takes 1 for 1.0 and True."""
    values = [1, "1", 1.0, True, None, "None"]
    dag = plan(task, model=values)
    assert len(bundles(dag)) == len(values)
    assert framework.execute(dag, butler).exit_code == 0
    assert [said()[v]["shared"][:2] for v in range(1, 7)] == [[type(m).__name__, m] for m in values]
    assert calls(tmp_path)["library"] == len(values)
    # Nor where they are put together by force: the key that counts at last is that of the object.
    forced = attrs.evolve(dag.bundling(), indptr=np.array([0, N]), indices=np.arange(N))
    again = plan(task, model=values, run="u/me/forced")
    again.bundlings = {"all": attrs.evolve(forced, name="all")}
    assert framework.execute(again, butler, bundling="all").exit_code == 0
    assert [said("u/me/forced")[v]["shared"][:2] for v in range(1, 7)] == [
        [type(m).__name__, m] for m in values
    ]


def test_a_bar_in_a_value_does_not_move_its_border(plan):
    """Astra joined values with bars: ("a|b", "c") merged with ("a", "b|c")."""
    class_path = "tests.executors.test_misbehaviours"
    assert FitTask.__module__ == class_path
    assert len(bundles(plan(model=["a|b", "a", "b|c", "a|b|c", "|", ""]))) == 6
    assert len(bundles(plan(TwoModelsTask, model=["a|b", "a"] * 3, other=["c", "b|c"] * 3))) == 2


class TwoParameters(StarParameters):
    other: str = parameter("", overhead=True, doc="Another model.")


class TwoModelsTask(FitTask):
    ParametersClass = TwoParameters


def test_the_order_of_a_mapping_splits_nothing(plan):
    """Astra wrote mappings as text: equal ones in another order were apart."""
    models = [{"a": 1, "b": 2}, {"b": 2, "a": 1}] * 3
    assert bundles(plan(model=models)) == [[0, 1, 2, 3, 4, 5]]


def test_another_version_of_a_task_is_another_bundle_and_another_quantum(plan):
    """Astra's key had no version; Luigi's hidden versions were not in a task's id."""
    old, new = plan(), plan(NewerTask)
    assert not {i.tobytes() for i in old.identities} & {i.tobytes() for i in new.identities}
    assert NewerTask.version != FitTask.version


def test_overheads_of_another_version_are_not_taken(butler, plan, tmp_path):
    """What one process keeps between bundles is of one version."""
    from executors.overheads.making import Overheads
    from executors.overheads.store import OverheadStore
    from supertask.tasks.overheads import sharing

    scope = Overheads(OverheadStore())
    for task in (FitTask, FitTask, NewerTask):
        dag = plan(task)
        (record,) = dag.records((0,))
        made = task(config=FitConfig(folder=str(tmp_path)))
        reader = recreate(butler, dag, quantum=0)
        scope.begin(made, record, record.quantum, reader.butler())
        with sharing(scope):
            made.library()
        scope.end()
        reader.close()
    assert calls(tmp_path)["library"] == 2


def test_overhead_inputs_that_differ_within_a_run_are_not_mixed_up(framework, butler, plan, said, tmp_path):
    """Astra attached all inputs to every task of a bundle."""
    dag = plan(grids=[1, 2, 1, 2, 3, 3])
    assert bundles(dag) == [[0, 2], [1, 3], [4, 5]]
    assert framework.execute(dag, butler).exit_code == 0
    assert [said()[v]["shared"][2] for v in range(1, 7)] == [1, 2, 1, 2, 3, 3]


def test_overhead_parameters_that_differ_within_a_run_each_make_their_object(butler, plan, said, tmp_path):
    """Luigi kept one value of a private parameter for all that it merged, and lost the others."""
    dag = plan(model=["a", "b", "c"] * 2)
    assert InProcessFramework().execute(dag, butler).exit_code == 0
    assert calls(tmp_path, "library") == {f"library {m} 1": 1 for m in "abc"}
    assert [each["shared"][1] for _, each in sorted(said().items())] == ["a", "b", "c"] * 2


def test_what_changes_no_result_splits_nothing(plan):
    """Luigi never merged tasks whose insignificant parameters differed."""
    first, second = plan(threads=[1, 2, 3, 4, 5, 6]), plan(threads=[6, 5, 4, 3, 2, 1])
    assert bundles(first) == [[0, 1, 2, 3, 4, 5]]
    assert (first.identities == second.identities).all()


def test_identities_are_wide_and_do_not_depend_on_what_was_made_first(plan):
    """Luigi's ids had 32 or 40 bits, and 1 and 1.0 shared one or not by which was built first."""
    one, other = plan(model=[1, 1.0, True] * 2), plan(model=[1.0, 1, True] * 2)
    assert one.identities.shape == (N, 16)
    assert len({i.tobytes() for i in one.identities}) == N
    assert one.identities[0].tobytes() != other.identities[0].tobytes()
    assert one.identities[2].tobytes() == other.identities[2].tobytes()
    again = plan(model=[1, 1.0, True] * 2)
    assert (one.identities == again.identities).all()


def test_what_collides_in_a_hash_is_not_merged(plan, monkeypatch):
    """Astra's key was a hash of 64 bits."""
    for name in ("_PRIME", "_BETWEEN"):
        monkeypatch.setattr(texts, name, np.uint64(0))
    assert bundles(plan(model=["a", "b", "a", "longer", "b", "c"])) == [[0, 2], [1, 4], [3], [5]]


# -- making bundles ---------------------------------------------------------------------------------


def test_a_bundle_has_a_limit(plan):
    """Astra's bundles had none."""
    assert max(map(len, bundles(plan(size=4)))) <= 4


@pytest.mark.parametrize(("parts", "sizes"), [(3, [2, 2, 2]), (6, [1] * 6), (4, [2, 2, 1, 1]), (9, [1] * 6)])
def test_no_part_of_a_bundle_is_empty(plan, parts, sizes):
    """Astra split four by four in 2, 2, 0 and 0, and seven by three in 3, 3 and 1."""
    cut = split(plan().bundling(), 0, parts)
    assert sorted(np.diff(cut.indptr).tolist(), reverse=True) == sizes


def test_a_quantum_is_in_one_bundle_of_each_bundling(plan):
    """In Astra, two bundles could hold a task and run it at once; an old bundle stayed after a split."""
    dag = plan(size=2)
    cut = split(dag.bundling(), 0, 2)
    assert sorted(cut.indices.tolist()) == list(range(N))
    assert bundles_of(dag, 3) == {dag.bundling().name: 1}


def test_lists_of_inputs_go_with_lists_of_parameters(butler, plan, said):
    """Astra gave every task the inputs of all."""
    guesses = [(float(i), 0.5) for i in range(N)]
    assert InProcessFramework().execute(plan(guess=guesses), butler).exit_code == 0
    assert {v: (e["star"], e["guess"]) for v, e in said().items()} == {
        v: (v, [v - 1.0, 0.5]) for v in range(1, N + 1)
    }


def test_lists_of_different_lengths_are_not_cut_to_the_shortest(plan):
    """Luigi's tuples were cut: the rest of a batch was dropped in silence; None alone went on for ever."""
    with pytest.raises(PreflightError, match="model has 5"):
        plan(model=["a"] * 5)


def test_a_value_for_all_is_not_spread_and_a_list_of_one_is_no_value_for_all(plan):
    """Astra spread a tuple whose length happened to fit, unless it was the default."""
    dag = plan(guess=(1.0,) * N)
    assert {q.parameters.guess for q in dag.quanta} == {(1.0,) * N}
    with pytest.raises(PreflightError, match="model has 1"):
        plan(model=["a"])


def test_a_value_has_one_type_in_a_bundle_and_alone(butler, plan, said):
    """In Astra an attribute was a value for one task and a list for several; here it is that of a quantum."""
    runs = {"u/me/one": 1, "u/me/all": N}
    for run, size in runs.items():
        dag = plan(TogetherTask, size=size, run=run, model="m", guess=[(float(i),) for i in range(N)])
        assert InProcessFramework().execute(dag, butler).exit_code == 0
    assert said("u/me/one") == said("u/me/all")
    assert {type(q.parameters.guess) for q in dag.quanta} == {tuple}


def test_all_parameters_are_attributes_and_unknown_ones_are_refused(plan):
    """Astra handed out dictionaries; options of its later decorator were ignored."""
    assert plan().quanta[0].parameters.guess == (5777.0, 4.4)
    with pytest.raises(PreflightError, match="gues"):
        plan(gues=[(1.0,)] * N)
    with pytest.raises(TypeError):
        QuantumBatcher(max_quantum=3)
    with pytest.raises(ConfigError):
        StarParameters(guess="abc")


UnseenTask = type("UnseenTask", (FitTask,), {"__module__": __name__, "__doc__": "Has no source of its own."})


def test_nothing_is_read_from_the_source_of_a_task(framework, butler, plan):
    """Today's Astra evaluates what a regular expression finds in a task's source to know how to group."""
    with pytest.raises((OSError, TypeError)):
        inspect.getsource(UnseenTask)
    dag = plan(UnseenTask, model=["a", "b"] * 3)
    assert bundles(dag) == [[0, 2, 4], [1, 3, 5]]
    assert framework.execute(dag, butler).exit_code == 0


def test_a_plan_that_is_bundled_is_bundled_again_whole(plan):
    """Luigi's grouping kept the first item alone of a task that was a batch already."""
    dag = plan(size=N)
    again = QuantumBatcher(2, "again").batch(dag)
    assert sorted(q for each in bundles(again) for q in each) == list(range(N))


def test_no_quantum_is_there_twice(butler, plan):
    """Astra always made a new row, and Luigi kept duplicates in a batch: equal work ran twice."""
    first, second = plan(), plan(run="u/me/second")
    assert (first.identities == second.identities).all()
    twice = DoublingTask
    with pytest.raises(PreflightError):
        plan(twice)


class DoublingTask(FitTask):
    def defineQuanta(self, repoGraph: Any) -> Any:
        made = super().defineQuanta(repoGraph)
        return [*made, made[0]]


def test_a_bundle_holds_what_is_missing_of_it_and_nothing_else(butler, plan, tmp_path):
    """Astra found bundles by one task in them, and ran what had ended again."""
    dag = plan(trouble="raise 3")
    assert InProcessFramework().execute(dag, butler).exit_code == 1
    (tmp_path / "calls").unlink()
    assert InProcessFramework().execute(plan(), butler).exit_code == 0
    assert calls(tmp_path, "run") == {"run 3": 1}


# -- running ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [FitTask, TogetherTask])
def test_an_error_leaves_the_rest_of_the_bundle_standing(framework, butler, plan, said, tmp_path, task):
    """In Astra and Luigi one error failed all; what had been computed was lost, or the rest never begun."""
    report = framework.execute(plan(task, trouble="raise 3"), butler)
    assert report.counts == {SUCCEEDED: N - 1, FAILED: 1}
    assert sorted(said()) == [1, 2, 4, 5, 6]
    assert calls(tmp_path, "run") == {f"run {v}": 1 for v in range(1, N + 1)}


def test_an_error_in_a_for_body_is_caught_where_it_is_raised(butler, plan):
    """A generator never hears of what its caller's loop raises: Astra left the items after it 'created'."""
    report = InProcessFramework().execute(plan(TogetherTask, trouble="raise 2"), butler)
    assert report.counts == {SUCCEEDED: N - 1, FAILED: 1}
    assert report.failures[0].message == "does not converge"


def test_leaving_a_bundle_early_fails_what_was_not_done_and_says_so(butler, plan):
    """In Astra a break rolled the times of all back, and left them 'created'."""
    report = InProcessFramework().execute(plan(TogetherTask, trouble="break 2"), butler)
    assert report.counts == {SUCCEEDED: 2, FAILED: N - 2}
    assert "without writing" in report.failures[0].message
    rows = times_of(butler.root, RUN)
    assert len(rows) == N
    assert sum(r.time_bundle_overhead for r in rows) >= PAUSE


def test_what_fails_stands_as_failed_and_what_ended_as_ended(butler, plan):
    """Astra looked its statuses up by names that were not there: after an error all stayed 'created'."""
    dag = plan(trouble="raise 3")
    InProcessFramework().execute(dag, butler)
    assert status(butler.root, RUN).counts == {SUCCEEDED: N - 1, FAILED: 1}
    (record,) = bundle_records(dag, butler.root)
    assert record.status is FAILED
    assert record.counts == {SUCCEEDED: N - 1, FAILED: 1}
    assert record.wall > 0


def test_of_each_member_it_is_known_when_and_where_it_ran_and_what_it_took(framework, butler, plan):
    """Astra never stored when a task had ended, nor where it ran, its CPU time, or memory."""
    begin = time.time_ns()
    framework.execute(plan(trouble="raise 3"), butler)
    attempts = list(replay(RunFolder(butler.root, RUN)).attempts(range(N)))
    assert len(attempts) == N
    for each in attempts:
        assert begin <= each.start <= each.end <= time.time_ns()
        assert (each.host, each.pid > 0) == (socket.gethostname(), True)
        assert each.wall > 0
        assert each.cpu > 0
        assert each.peak_memory > 1 << 20


class ChattyTask(FitTask):
    def runQuantum(self, quantum: Any, butler: Any) -> None:
        super().runQuantum(quantum, butler)
        self.log.error("Error: none at all")
        sys.stdout.write("Error\n")
        sys.stderr.write("Error\n")


def test_what_a_task_writes_does_not_decide_what_came_of_it(framework, butler, plan):
    """Astra took a last line with the word Error in it for a failure, and any other for success."""
    assert framework.execute(plan(ChattyTask), butler).counts == {SUCCEEDED: N}


def test_every_quantum_begins_and_ends_once_for_who_listens(framework, butler, plan):
    """Luigi's batches told of failures of the batch alone, and Astra's 'running' was never written."""
    heard: list[Any] = []
    framework.execute(plan(TogetherTask, trouble="raise 3"), butler, listeners=[heard.append])
    for kind in (QuantumStarted, QuantumEnded):
        of = [getattr(e, "attempt", e).index for e in heard if type(e) is kind]
        assert Counter(of) == dict.fromkeys(range(N), 1)


@pytest.mark.parametrize("task", [FitTask, TogetherTask])
def test_the_exit_code_says_that_something_failed(framework, butler, plan, task):
    """`astra execute bundles` ended with 0 whatever failed, and so did the later `astra run` and srun."""
    assert framework.execute(plan(task, trouble="raise 3"), butler).exit_code == 1


def test_the_command_ends_with_one_where_something_failed(butler, plan, tmp_path):
    """As above, at the command line."""
    plan(trouble="raise 3").save(tmp_path / "plan.h5")
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "executors.cmdline", "run", str(tmp_path / "plan.h5")],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "does not converge" in done.stdout + done.stderr


def test_several_workers_share_a_bundle_of_work_without_gaps_or_doubles(butler, plan, tmp_path):
    """Astra's workers took pages of a query whose rows vanish as work is done: ten of forty were skipped."""
    report = MultiprocessFramework(2).execute(plan(size=1), butler)
    assert report.counts == {SUCCEEDED: N}
    assert calls(tmp_path, "run") == {f"run {v}": 1 for v in range(1, N + 1)}


def test_the_overhead_is_not_paid_for_each_member(framework, butler, plan, tmp_path):
    """Astra's parallel bundles ran each task by itself, and loaded the model for each."""
    assert framework.execute(plan(size=2), butler).exit_code == 0
    assert calls(tmp_path)["library"] <= getattr(framework, "processes", 1)


def test_an_input_that_is_gone_fails_its_quantum_alone(butler, plan, tmp_path):
    """In Luigi's batch mode nobody looked whether inputs exist."""
    Path(butler.datastore.path(butler.locate(STAR(instrument="Cam", visit=2)).location)).unlink()
    report = InProcessFramework().execute(plan(TogetherTask), butler)
    assert report.counts == {SUCCEEDED: N - 1, FAILED: 1}
    assert "star" in report.failures[0].message


def test_another_model_overwrites_nothing(butler, plan, said):
    """Today's Astra stores no parameters: a run with another model replaces what was there."""
    InProcessFramework().execute(plan(model="a"), butler)
    with pytest.raises(ExecutionError):
        InProcessFramework().execute(plan(model="b"), butler)
    InProcessFramework().execute(plan(model="b", run="u/me/b"), butler)
    assert {e["shared"][1] for e in said().values()} == {"a"}
    assert {e["shared"][1] for e in said("u/me/b").values()} == {"b"}


def test_a_bundle_recreated_runs_each_member_as_its_own(butler, plan, tmp_path):
    """Astra's `from_bundle` took the first task's values and version for all."""
    dag = plan(TogetherTask, guess=[(float(i),) for i in range(N)], trouble="raise 3")
    InProcessFramework().execute(dag, butler)
    work = recreate(butler, RUN, bundle=0)
    assert [q.parameters.guess for q in work.quanta] == [(float(i),) for i in range(N)]
    assert [a.status for a in work.run()] == [FAILED if i == 2 else SUCCEEDED for i in range(N)]
    work.close()


# -- times ------------------------------------------------------------------------------------------


def test_no_overhead_is_counted_for_each_member(butler, plan):
    """Astra wrote the time of the whole bundle to every row: their sum was N times what was spent."""
    begin = time.perf_counter()
    InProcessFramework().execute(plan(), butler)
    spent = time.perf_counter() - begin
    rows = times_of(butler.root, RUN)
    assert (
        PAUSE <= sum(r.time_execute_bundle_overhead for r in rows) <= sum(r.time_total for r in rows) <= spent
    )
    shares = [r.time_execute_bundle_overhead for r in rows]
    assert max(shares) - min(shares) < 1e-6


def test_times_are_kept_of_what_fails(butler, plan):
    """Astra lost the times of all members on an error."""
    InProcessFramework().execute(plan(TogetherTask, trouble="raise 3"), butler)
    rows = times_of(butler.root, RUN)
    assert len(rows) == N
    assert all(r.time_execute_task > 0 and r.cpu_total > 0 for r in rows)
    assert {r.status for r in rows} == {"succeeded", "failed"}


def test_running_again_makes_no_overhead_negative(butler, plan):
    """Astra's second run of an instance doubled the times of tasks: overhead was -0.30 s."""
    InProcessFramework().execute(plan(trouble="raise 3"), butler)
    InProcessFramework().execute(plan(), butler)
    work = recreate(butler, RUN, bundle=0)
    for _ in range(2):
        work.run()
    for rows in (times_of(butler.root, RUN), work.times()):
        assert all(
            value >= -1e-9 for r in rows for name, value in r.to_dict().items() if name.startswith("time_")
        )
    work.close()


def test_several_passes_over_a_bundle_add_up(butler, plan):
    """Astra added passes up, too, but took what was left of the wall for overhead, whatever it was."""
    assert InProcessFramework().execute(plan(PassesTask), butler).exit_code == 0
    for r in times_of(butler.root, RUN):
        assert r.time_pre_execute_task >= 0.004
        assert r.time_total == pytest.approx(r.time_pre_execute + r.time_execute + r.time_post_execute)


def test_the_first_member_does_not_carry_the_load_nor_shares_drift(butler, plan):
    """Without `yield ...` Astra's first row had it; with it, shares drifted to +42 % of what was spent."""
    InProcessFramework().execute(plan(size=2, model="a"), butler)  # three bundles, one model
    rows = times_of(butler.root, RUN)
    assert rows[0].time_execute_task < PAUSE
    shares = [r.time_execute_bundle_overhead for r in rows]
    assert sum(shares) == pytest.approx(shares[0] * N, rel=1e-6)  # kept for all bundles, and shared by all


# -- the list ---------------------------------------------------------------------------------------


def test_the_list_of_misbehaviours_is_that_of_these_tests():
    page = (Path(__file__).resolve().parents[2] / "docs/explanation/bundles.md").read_text()
    here = set(re.findall(r"^def (test_\w+)", Path(__file__).read_text(), re.MULTILINE))
    listed = set(re.findall(r"`(test_\w+)`", page))
    assert listed == here - {"test_the_list_of_misbehaviours_is_that_of_these_tests"}


def test_a_plan_from_its_file_is_bundled_as_the_one_that_was_made(plan, tmp_path):
    """In Astra a list that was stored in rows became a list of lists in a bundle."""
    dag = plan(model=[1, "1", 1.0, True, None, "None"], guess=[(float(i),) for i in range(N)])
    dag.save(tmp_path / "plan.h5")
    loaded = ScienceDag.load(tmp_path / "plan.h5")
    assert bundles(QuantumBatcher(N, "again").batch(loaded)) == bundles(dag)
    assert [q.parameters for q in loaded.quanta] == [q.parameters for q in dag.quanta]
