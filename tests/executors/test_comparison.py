"""Two runs compared: what made them, what they read, what they came to, and how far their data differ."""

from __future__ import annotations

import json

import pytest

from executors.comparison.runs import compare_runs
from executors.inprocess import InProcessFramework
from graphbuilder.reuse.planning import Check, Reuse
from supertask.errors import ExecutionError
from supertask.formats.differences import Tolerance
from tests.executors import coadds, frames


@pytest.fixture
def two(butler, control):
    """Runs ``u/a`` and ``u/b``; the second adds 3 to each frame where the first adds 1."""
    InProcessFramework().execute(frames.plan(butler, control, run="u/a"), butler)
    InProcessFramework().execute(frames.plan(butler, control, run="u/b", offset=3.0), butler)
    return butler


def data(found):
    return {d.name: d for d in found.data}


def test_a_change_of_one_field_is_told_with_what_came_of_it(two):
    found = compare_runs(two, "u/a", "u/b")
    assert [(c.task, c.what, c.a, c.b) for c in found.changes] == [("reduce", "config offset", "1.0", "3.0")]
    image = data(found)["image"]
    assert (image.same, image.differ, image.only_a, image.only_b) == (0, 12, 0, 0)
    [part] = image.parts
    assert (part.what, part.datasets, part.most, part.mean) == ("value", 12, 2.0, 2.0)
    total = next(p for p in data(found)["stack"].parts if p.what == "sum")
    assert total.most == 6.0
    assert not found.is_same


def test_what_is_of_equal_bytes_is_the_same_although_its_identity_is_another(two):
    assert data(compare_runs(two, "u/a", "u/b"))["mask"].same == 4


def test_a_run_is_the_same_as_itself(two):
    found = compare_runs(two, "u/a", "u/a")
    assert found.is_same
    assert not found.changes
    assert all(d.same and not d.equal for d in found.data)


def test_within_the_tolerance_data_are_the_same(two):
    found = compare_runs(two, "u/a", "u/b", tolerance=Tolerance(absolute=100.0))
    assert found.is_same
    assert data(found)["image"].close == 12


def test_counts_and_inputs_are_told(two):
    found = compare_runs(two, "u/a", "u/b")
    counts = {t.label: t.counts for t in found.tasks}
    assert counts["reduce"] == ({"succeeded": 12}, {"succeeded": 12})
    [raw] = found.inputs
    assert (raw.name, raw.same, raw.replaced, raw.only_a, raw.only_b) == ("raw", 12, 0, 0, 0)


def test_runs_of_other_extent_have_data_that_only_one_has(butler, control):
    InProcessFramework().execute(frames.plan(butler, control, run="u/a"), butler)
    InProcessFramework().execute(frames.plan(butler, control, run="u/b", where="visit < 3"), butler)
    found = compare_runs(butler, "u/a", "u/b")
    assert any(c.what == "expression" and c.b == "visit < 3" for c in found.changes)
    assert (data(found)["image"].same, data(found)["image"].only_a) == (9, 3)
    assert found.inputs[0].only_a == 3
    assert not found.is_same


def test_what_was_reused_is_shared(tmp_path):
    with coadds.make_repository(tmp_path / "repo") as butler:
        InProcessFramework().execute(coadds.plan(butler, "u/a"), butler)
        changed = coadds.plan(butler, "u/b", reuse=Reuse(None, Check.FILES), kernel="lanczos5")
        InProcessFramework().execute(changed, butler)
        found = compare_runs(butler, "u/a", "u/b")
        assert (data(found)["image"].reused, data(found)["image"].only_a) == (6, 0)
        assert data(found)["warp"].differ == 6


def test_runs_of_two_repositories_are_compared(tmp_path, control):
    for name, offset in (("one", 1.0), ("other", 1.5)):
        with frames.make_repository(tmp_path / name) as butler:
            InProcessFramework().execute(frames.plan(butler, control, offset=offset), butler)
    from supertask.butler.repository import Butler

    with Butler(tmp_path / "one") as one, Butler(tmp_path / "other") as other:
        found = compare_runs(one, frames.RUN, frames.RUN, other=other)
        assert data(found)["image"].parts[0].most == 0.5


def test_a_sample_and_some_types_are_enough_for_a_first_look(two):
    found = compare_runs(two, "u/a", "u/b", types=("image",), sample=3)
    [image] = found.data
    assert (image.differ, image.passed_over) == (3, 9)
    assert compare_runs(two, "u/a", "u/b", data=False).data == ()


def test_files_that_cannot_be_read_are_told_and_the_rest_compared(two, root):
    files = sorted((root / "u" / "b" / "image").rglob("*.json"))
    files[0].write_text("{")
    files[1].unlink()
    found = compare_runs(two, "u/a", "u/b")
    image = data(found)["image"]
    assert (image.unread, image.differ) == (2, 10)
    assert len(found.problems) == 2
    assert not found.is_same


def test_what_is_not_there_is_refused_in_words(two):
    with pytest.raises(ExecutionError, match="did you mean 'u/"):
        compare_runs(two, "u/a", "u/bb")
    with pytest.raises(ExecutionError, match="did you mean 'image'"):
        compare_runs(two, "u/a", "u/b", types=("imago",))


def test_a_comparison_is_plain_data(two):
    assert json.loads(json.dumps(compare_runs(two, "u/a", "u/b").to_dict()))["same"] is False
