"""Sheaves: bundles by the thousand in one file, of which each job reads its own part."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from executors.cmdline.main import main
from executors.decisions.work import Work
from executors.jobs.bundlefile import read_job
from executors.jobs.folder import ExitCode, JobFolder
from executors.jobs.planning import HandPacker
from executors.jobs.running import run_job
from executors.jobs.settling import jobs_in, names_in, settle
from executors.jobs.sheaf import open_in
from executors.jobs.slots import FOLDER, Slots, slot_of
from executors.jobs.stacking import Stack
from executors.testing.survey import Survey
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError

SESSION = "18ea135cee69bad9"


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "survey", visits=3)


@pytest.fixture
def plan(survey):
    with Butler(survey.root) as butler:
        yield survey.bundled(butler)


@pytest.fixture
def stack(survey, plan, tmp_path):
    with Butler(survey.root) as butler:
        packer = HandPacker(plan, butler, tmp_path / "plan.h5")
    return Stack(packer._open.packer, tmp_path / "jobs", SESSION)


def put(stack, work, **more):
    return stack.add(work, **{"numbers": {}, "missing": {}, "memory": {}, **more})


def bundles(plan):
    bundling = plan.bundling()
    return [Work(tuple(bundling[b].tolist()), b) for b in range(len(bundling))]


def test_what_a_job_reads_is_what_the_plan_says(stack, plan):
    folders = [put(stack, work) for work in bundles(plan)]
    stack.flush()
    for folder, work in zip(folders, bundles(plan), strict=True):
        found = read_job(JobFolder(folder))
        assert found.work == work
        assert found.records(work.quanta) == plan.records(work.quanta)
        assert found.outlines(work.quanta) == plan.outlines(work.quanta)
        assert [found.identity(q) for q in work.quanta] == [plan.record(q).identity for q in work.quanta]


def test_a_job_knows_who_in_its_bundle_waits_for_whom(stack, plan):
    (work, *_) = bundles(plan)
    folder = put(stack, work)
    stack.flush()
    begins, after = read_job(JobFolder(folder)).successors()
    indptr, indices = plan.successors()
    for q in work.quanta:
        inside = set(indices[indptr[q] : indptr[q + 1]].tolist()) & set(work.quanta)
        assert set(after[begins[q] : begins[q + 1]].tolist()) == inside


def test_what_is_told_of_other_bundles_is_known_with_their_outputs(stack, plan):
    *_, last = bundles(plan)
    (other, *_) = bundles(plan)
    before = other.quanta[-1]
    told = attrs.evolve(last, absent={last.quanta[0]: (before,)})
    folder = put(
        stack,
        told,
        numbers={last.quanta[0]: 3},
        missing={before: frozenset([bytes(16)])},
        memory={last.quanta[0]: 5},
        waits={last.quanta[0]: [before]},
        after={"b0-1": [before]},
    )
    stack.flush()
    found = read_job(JobFolder(folder))
    assert (found.work, found.numbers, found.memory) == (told, {last.quanta[0]: 3}, {last.quanta[0]: 5})
    assert found.missing == {before: frozenset([bytes(16)])}
    assert found.said["after"] == {"b0-1": [before]}
    whole = plan.record(before)
    assert found.quanta[before].outputs == whole.quantum.outputs
    assert found.quanta[before].dataId == whole.quantum.dataId
    assert {d: found.record(before).identities[d] for d in found.record(before).identities} == {
        d: whole.identities[d] for ds in whole.quantum.outputs.values() for d in ds
    }


def test_a_job_of_a_sheaf_runs_and_what_it_made_is_taken(survey, stack, plan, tmp_path):
    folders = [put(stack, work) for work in bundles(plan)[:2]]
    stack.flush()
    home = tmp_path / "jobs"
    assert [f.name for f in home.iterdir()] == [FOLDER], "folders are the jobs' own to make"
    assert names_in(home) == open_in(home) == sorted(f.name for f in folders)
    assert run_job(folders[0]).code is ExitCode.SUCCEEDED
    with Butler(survey.root) as butler:
        settled = settle(plan, butler, [home])
        assert (settled.attempts, settled.names) == (len(bundles(plan)[0].quanta), [folders[1].name])
        assert names_in(home) == [folders[1].name], "what was taken cannot begin again"
        with pytest.raises(ExecutionError, match="taken back"):
            run_job(folders[0])
        assert not folders[0].exists()
        settle(plan, butler, [home], revoke=True)
    assert not list(home.iterdir()), "with its last job the sheaf goes"
    with pytest.raises(ExecutionError, match="taken back"):
        run_job(folders[1])


def test_a_stack_becomes_another_sheaf_when_it_is_high(stack, plan, tmp_path, monkeypatch):
    monkeypatch.setattr("executors.jobs.stacking._BUNDLES", 2)
    names = [put(stack, work).name for work in bundles(plan)]
    stack.flush()
    stack.flush()
    assert len(list((tmp_path / "jobs" / FOLDER).glob("*.sheaf"))) == 2
    assert [name.rpartition(SESSION)[2] for name in names] == ["-0-0", "-0-1", "-1-0", "-1-1"]
    assert [read_job(JobFolder(tmp_path / "jobs" / name)).work.bundle for name in names] == [0, 1, 2, 3]


@pytest.mark.parametrize("harm", ["slots", "version"])
def test_a_sheaf_that_nobody_can_go_on_with_is_in_nobodys_way(survey, stack, plan, tmp_path, harm):
    folder = put(stack, bundles(plan)[0])
    stack.flush()
    sheaf = slot_of(folder).sheaf
    if harm == "slots":
        Slots(sheaf).path.unlink()
        assert not JobFolder(folder).is_wanted
    else:
        sheaf.write_bytes(b'{"supertask-sheaf": 9}')
    assert jobs_in([tmp_path / "jobs"]) == []
    with Butler(survey.root) as butler:
        assert settle(plan, butler, [tmp_path / "jobs"], revoke=True).attempts == 0
    assert not sheaf.parent.exists()
    with pytest.raises(ExecutionError, match="taken back"):
        run_job(folder)


@pytest.mark.parametrize("at", [3, 200, -3])
def test_a_sheaf_that_was_altered_is_refused(stack, plan, at):
    folder = put(stack, bundles(plan)[0])
    stack.flush()
    path = slot_of(folder).sheaf
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(ExecutionError, match=r"altered|cannot be read"):
        read_job(JobFolder(folder))
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ExecutionError, match=r"altered|cannot be read"):
        read_job(JobFolder(folder))


def test_a_sheaf_of_another_version_is_refused(stack, plan):
    folder = put(stack, bundles(plan)[0])
    stack.flush()
    path = slot_of(folder).sheaf
    path.write_bytes(path.read_bytes().replace(b'"supertask-sheaf": 1', b'"supertask-sheaf": 9'))
    with pytest.raises(ExecutionError, match="is of format 9"):
        read_job(JobFolder(folder))


def test_jobs_with_files_of_their_own_have_no_slots(tmp_path):
    assert slot_of(tmp_path / "b12-1") is None
    assert slot_of(tmp_path / "bundle-000012") is None
    slot = slot_of(tmp_path / f"n7-{SESSION}-3-41")
    assert (slot.sheaf.name, slot.at) == (f"{SESSION}-3.sheaf", 41)
    assert not slot.is_open


def test_slots_close_one_by_one(tmp_path):
    sheaf = tmp_path / FOLDER / f"{SESSION}-0.sheaf"
    sheaf.parent.mkdir()
    sheaf.write_bytes(b"")
    Slots(sheaf).make(3)
    each = [slot_of(tmp_path / f"b{i}-{SESSION}-0-{i}") for i in range(4)]
    assert [slot.is_open for slot in each] == [True, True, True, False]
    each[1].close()
    each[1].close()
    each[3].close()
    assert Slots(sheaf).open() == [0, 2]
    each[0].close()
    assert sheaf.exists()
    each[2].close()
    assert not sheaf.parent.exists()


def test_a_column_of_many_words_is_written_row_by_row(stack, plan, monkeypatch):
    monkeypatch.setattr("executors.jobs.sheafwriting._FEW", 0)
    work = bundles(plan)[1]
    folder = put(stack, work)
    stack.flush()
    assert read_job(JobFolder(folder)).records(work.quanta) == plan.records(work.quanta)
    assert np.all([q < plan.n_quanta for q in work.quanta])


def test_all_that_may_run_now_is_packed_together(survey, plan, tmp_path):
    with Butler(survey.root) as butler:
        packer = HandPacker(plan, butler, tmp_path / "plan.h5")
        jobs = packer.pack_together(packer.home)
        assert [job.path.name.partition("-")[0] for job in jobs] == ["b0", "b1", "b2"], "the rest waits"
        assert {run_job(job.path).code for job in jobs} == {ExitCode.SUCCEEDED}
        assert settle(plan, butler, [packer.home]).attempts == plan.n_quanta - 1
        packer = HandPacker(plan, butler, tmp_path / "plan.h5")
        assert len(packer.pack_together(packer.home)) == 1


def test_a_batch_system_names_the_folder_that_its_job_will_make(stack, plan, capsys):
    first, other = (put(stack, work) for work in bundles(plan)[:2])
    stack.flush()
    assert main(["run-bundle", str(first)]) == 0
    assert "succeeded" in capsys.readouterr().out
    JobFolder(other).take_back()
    assert main(["run-bundle", str(other)]) == 2
    assert "taken back" in capsys.readouterr().err
