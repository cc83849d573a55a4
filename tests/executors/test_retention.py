"""How long intermediates stay, and that what is gone is remade when it is needed again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from executors import InProcessFramework, QuantumStatus
from executors.jobs.collecting import collect
from executors.journal.runfolder import RunFolder
from executors.keeping.deletion import Deleter
from executors.keeping.wishes import policies_in
from graphbuilder import GraphBuilder
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError, RepositoryError
from supertask.pipelines.pipeline import Pipeline
from tests.executors.frames import RUN, outputs, plan, ran

FAILED, BLOCKED = QuantumStatus.FAILED, QuantumStatus.BLOCKED


class Killed(BaseException):
    """Stands for the end of the process."""


def there(butler, *names):
    """How many datasets of each type the run has, whose files are all there."""
    found = {name: butler.query(name, collections=[RUN]) for name in names}
    for datasets in found.values():
        for dataset in datasets:
            butler.verify(dataset)
    return {name: len(datasets) for name, datasets in found.items()}


def files(root, name):
    return sorted(path for path in outputs(root) if path.startswith(f"{name}/"))


def deleted_in_journal(root):
    lines = []
    for path in RunFolder(str(root), RUN).journal.glob("*.jsonl"):
        values = [json.loads(line[9:]) for line in path.read_bytes().splitlines()]
        lines += [v for v in values if v["event"] == "deleted"]
    return lines


def test_intermediates_stay_unless_it_is_said_otherwise(framework, butler, root):
    framework.execute(plan(butler), butler)
    assert there(butler, "image", "stack", "report") == {"image": 12, "stack": 4, "report": 1}


def test_what_is_used_up_goes_from_disk_and_registry(framework, butler, root):
    report = framework.execute(plan(butler), butler, retain={"image": "until-used", "mask": "until-used"})
    assert report.exit_code == 0
    assert there(butler, "image", "mask", "stack") == {"image": 0, "mask": 0, "stack": 4}
    assert files(root, "image") == files(root, "mask") == []
    assert sum(len(v["quanta"]) for v in deleted_in_journal(root) if v["type"] == "image") == 12


def test_what_is_gone_on_purpose_is_not_made_again(framework, butler, control):
    dag = plan(butler, control)
    framework.execute(dag, butler, retain={"*": "until-used"})
    report = framework.execute(dag, butler)
    assert (report.exit_code, report.finished_before) == (0, 17)
    assert len(ran(control)) == 17


def test_a_name_goes_before_patterns(here, butler):
    here.execute(plan(butler), butler, retain={"stack": "keep", "*": "until-used", "ma*": "keep"})
    assert there(butler, "image", "mask", "stack", "report") == {
        "image": 0, "mask": 4, "stack": 4, "report": 1,
    }  # fmt: skip


def test_what_a_failed_consumer_would_read_stays(framework, butler, control):
    (control / "stack-2").write_text("raise")
    dag = plan(butler, control)
    report = framework.execute(dag, butler, retain={"*": "until-used"})
    assert report.counts[FAILED] == 1
    assert there(butler, "image", "stack") == {"image": 3, "stack": 3}
    (control / "stack-2").unlink()
    report = framework.execute(dag, butler, retain={"*": "until-used"})
    assert (report.exit_code, report.finished_before) == (0, 15)
    assert there(butler, "image", "stack", "report") == {"image": 0, "stack": 0, "report": 1}


def test_on_failure_keeps_all_that_led_to_it(framework, butler, control):
    (control / "stack-2").write_text("raise")
    dag = plan(butler, control)
    framework.execute(dag, butler, retain={"image": "on-failure"})
    # The report waits for all stacks, so all that led to these stays as well.
    assert there(butler, "image") == {"image": 12}
    (control / "stack-2").unlink()
    assert framework.execute(dag, butler, retain={"image": "on-failure"}).exit_code == 0
    assert there(butler, "image", "stack") == {"image": 0, "stack": 4}


def test_on_failure_lets_go_what_led_to_no_failure(framework, butler, control):
    (control / "stack-2").write_text("raise")
    dag = plan(butler, control).subset(["reduce", "stack"])
    framework.execute(dag, butler, retain={"image": "on-failure"})
    assert {d["visit"] for d in butler.query("image", collections=[RUN])} == {2}


def test_a_quantum_that_must_run_again_finds_its_inputs_remade(framework, butler, root, control):
    dag = plan(butler, control)
    framework.execute(dag, butler, retain={"image": "until-used"})
    whole = outputs(root)
    (root / RUN / files(root, "stack")[1]).unlink()
    (control / "ran").unlink()
    report = framework.execute(dag, butler)
    assert report.exit_code == 0
    assert sorted(ran(control)) == ["reduce-1-0", "reduce-1-1", "reduce-1-2", "stack-1"]
    assert there(butler, "image", "stack") == {"image": 3, "stack": 4}
    assert {name: data for name, data in outputs(root).items() if not name.startswith("image/")} == whole
    report = framework.execute(dag, butler, retain={"image": "until-used"})
    assert (report.finished_before, there(butler, "image")) == (17, {"image": 0})


def test_a_further_plan_that_reads_what_is_gone_has_it_remade(here, butler, root, control):
    dag = plan(butler, control)
    first = dag.subset(["reduce", "stack"])
    here.execute(first, butler, retain={"image": "until-used"})
    first_again = here.execute(dag, butler, retain={"stack": "until-used", "image": "until-used"})
    assert (first_again.finished_before, first_again.exit_code) == (16, 0)
    assert len(ran(control)) == 17, "the stacks were there: nothing was remade"
    (root / RUN / files(root, "report")[0]).unlink()
    assert here.execute(dag, butler).exit_code == 0
    assert len(ran(control)) == 34, "all that the report is made of was gone"


@pytest.mark.parametrize("moment", ["before", "unregistered"])
def test_a_deletion_that_was_broken_off_is_finished_by_the_next_session(
    here, butler, root, control, monkeypatch, moment
):
    dag = plan(butler, control)

    def breaks(self, doomed):
        if moment == "unregistered":  # and killed before it deletes the files
            butler._registry.remove(RUN, butler.query("image", collections=[RUN]))
        raise Killed

    monkeypatch.setattr(Deleter, "_delete", breaks)
    with pytest.raises(Killed):
        here.execute(dag, butler, retain={"image": "on-failure"})
    monkeypatch.undo()
    assert len(files(root, "image")) == 12
    report = here.execute(dag, butler)
    assert (report.finished_before, report.exit_code) == (17, 0)
    assert (there(butler, "image"), files(root, "image")) == ({"image": 0}, [])


def test_a_registry_that_is_out_of_order_delays_deleting(here, butler, root, control, monkeypatch):
    dag = plan(butler, control)

    def locked(self, datasets, *, run, skip_missing=False):
        raise RepositoryError("the registry is locked")

    monkeypatch.setattr(Butler, "remove", locked)
    report = here.execute(dag, butler, retain={"image": "on-failure"})
    monkeypatch.undo()
    assert report.exit_code == 0
    assert any("the next session will" in p for p in report.problems)
    here.execute(dag, butler)
    assert files(root, "image") == []


def test_no_work_and_left_out_outputs_count_as_used(framework, butler, control):
    (control / "stack-1").write_text("nothing")
    (control / "reduce-3-@").write_text("nothing")
    framework.execute(plan(butler, control), butler, retain={"*": "until-used"})
    assert there(butler, "image", "mask", "report") == {"image": 0, "mask": 0, "report": 1}


def as_said(butler, retention, control=""):
    """The plan of a pipeline that says how long datasets stay."""
    dag = plan(butler, control)
    pipeline = Pipeline.from_dict(dag.meta.pipeline).set_retention(retention)
    return GraphBuilder(pipeline, butler, RUN, collections=["raw"]).makeGraph()


def test_a_plan_says_in_its_file_how_long_datasets_stay(framework, butler, tmp_path):
    as_said(butler, {"image": "until-used", "mask": "on-failure"}).save(tmp_path / "plan.h5")
    assert framework.execute(tmp_path / "plan.h5", butler).exit_code == 0
    assert there(butler, "image", "mask", "stack") == {"image": 0, "mask": 0, "stack": 4}


def test_who_runs_a_plan_has_the_last_word(here, butler):
    dag = as_said(butler, {"image": "until-used", "mask": "until-used"})
    here.execute(dag, butler, retain={"im*": "keep"})
    assert there(butler, "image", "mask") == {"image": 12, "mask": 0}


def test_retention_is_no_part_of_identity(butler):
    dag, other = plan(butler), as_said(butler, {"image": "until-used"})
    assert np.array_equal(dag.identities, other.identities)


@pytest.mark.parametrize(("wished", "left"), [({}, 0), ({"image": "keep"}, 12)])
def test_who_settles_a_run_later_heeds_what_was_wished(here, butler, root, wished, left):
    dag = as_said(butler, {"image": "until-used"})
    here.execute(dag, butler, retain={"*": "keep"})
    policies_in(RunFolder(str(root), RUN), dag, wished)  # as the driver does that submits jobs and leaves
    collect(dag, butler)
    assert there(butler, "image", "stack") == {"image": left, "stack": 4}


def test_wishes_that_cannot_be_read_are_named(here, butler, root):
    dag = plan(butler)
    here.execute(dag, butler, retain={"image": "until-used"})
    path = RunFolder(str(root), RUN).path / "retention.json"
    path.write_text("{")
    with pytest.raises(ExecutionError, match="retention.json"):
        collect(dag, butler)
    here.execute(dag, butler)
    assert not path.exists(), "what is said anew stands in its place"


def test_what_cannot_be_remade_is_never_deleted_and_all_mistakes_are_said(here, butler, root):
    dag = plan(butler)
    wrong = {"raw": "until-used", "imge": "until-used", "report": "on-failure", "mask": "until used"}
    with pytest.raises(ExecutionError) as caught:
        here.execute(dag, butler, retain=wrong)
    said = str(caught.value)
    assert "raw cannot be until-used: the plan does not make it, so it is never deleted" in said
    assert "no dataset type 'imge' (did you mean 'image'?)" in said
    assert "report cannot be on-failure: nothing in the plan reads it" in said
    assert "'until used' is not one of keep, until-used, on-failure (did you mean 'until-used'?)" in said
    assert not list(RunFolder(str(root), RUN).journal.iterdir())


def test_a_lost_file_is_told_from_one_that_was_deleted(root, butler, control):
    dag = plan(butler, control)
    InProcessFramework().execute(dag, butler, retain={"image": "until-used"})
    lost = root / RUN / files(root, "mask")[0]
    lost.unlink()
    (control / "ran").unlink()
    assert InProcessFramework().execute(dag, butler).exit_code == 0
    assert len(ran(control)) == 1, "its stack is there and does not need to be made again"
    assert lost.exists()
