"""Plans against earlier runs: what is left out, what runs, and why. Each test counts quanta."""

from __future__ import annotations

import pytest

from executors.inprocess import InProcessFramework
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.reuse.planning import Check, Reuse
from supertask.errors import CollectionError
from tests.executors.coadds import add_exposure, counts, make_repository, plan

WHOLE = {"isr": 6, "warp": 6, "coadd": 4, "catalogue": 4}


@pytest.fixture
def butler(tmp_path):
    with make_repository(tmp_path / "repo") as made:
        yield made


@pytest.fixture
def first(butler):
    """One run of everything."""
    dag = plan(butler, "u/first")
    assert counts(dag) == WHOLE
    run(butler, dag)
    return butler


def run(butler, dag):
    report = InProcessFramework().execute(dag, butler)
    assert report.exit_code == 0, report
    return report


def again(butler, name="u/second", *, check=Check.FILES, collections=None, **options):
    return plan(butler, name, reuse=Reuse(collections, check), **options)


def values(butler, name, *runs):
    return {d: butler.get(d) for d in butler.query(name, collections=runs)}


def test_nothing_changed_and_nothing_runs(first):
    dag = again(first)
    assert counts(dag) == {}
    assert dag.n_quanta == 0
    reused = dag.meta.reused
    assert (reused.planned, reused.run) == (20, 0)
    assert all(t.runs == {"u/first": t.planned} for t in reused.tasks)


def test_an_empty_plan_is_saved_and_run(first, tmp_path):
    again(first).save(tmp_path / "plan.h5")
    dag = ScienceDag.load(tmp_path / "plan.h5")
    assert dag.meta.reused.planned == 20
    assert run(first, dag).exit_code == 0


def test_another_kernel_runs_warp_coadd_and_catalogue(first):
    dag = again(first, kernel="bilinear")
    assert counts(dag) == {"warp": 6, "coadd": 4, "catalogue": 4}
    told = {t.label: t for t in dag.meta.reused.tasks}
    assert told["isr"].runs == {"u/first": 6}
    assert told["warp"].because == {"task or config differs": 6}
    assert told["warp"].differs == {"config kernel: 'lanczos3' → 'bilinear'": 6}
    assert told["coadd"].because == {"inputs differ": 4}
    run(first, dag)
    images = values(first, "warp", "u/second")
    assert len(images) == 6
    assert all(value[0] == "bilinear" for value in images.values())
    assert first.query("image", collections=["u/second"]) == []


def test_what_is_reused_is_read_where_it_is(first, tmp_path):
    dag = again(first, kernel="bilinear")
    dag.save(tmp_path / "plan.h5")
    run(first, ScienceDag.open(tmp_path / "plan.h5"))
    whole = plan(first, "u/whole", kernel="bilinear")
    run(first, whole)
    assert values(first, "catalogue", "u/second") == values(first, "catalogue", "u/whole")


def test_one_exposure_more_runs_its_chain_and_the_patches_it_touches(first):
    add_exposure(first, 3, patches=(3,))
    dag = again(first)
    assert counts(dag) == {"isr": 2, "warp": 1, "coadd": 1, "catalogue": 1}
    because = {t.label: t.because for t in dag.meta.reused.tasks}
    new = "nothing of this data ID is there: new, or gone"
    assert because == {
        "isr": {new: 2},
        "warp": {new: 1},
        "coadd": {"inputs differ": 1},
        "catalogue": {"inputs differ": 1},
    }
    run(first, dag)
    assert counts(again(first, "u/third")) == {}


def test_reused_datasets_may_be_of_several_runs(first):
    add_exposure(first, 3, patches=(3,))
    run(first, again(first))
    told = {t.label: t for t in again(first, "u/third").meta.reused.tasks}
    assert told["isr"].runs == {"u/first": 6, "u/second": 2}
    assert told["catalogue"].runs == {"u/first": 3, "u/second": 1}


@pytest.mark.parametrize(
    ("name", "needed"),
    [("catalogue", {"catalogue": 1}), ("warp", {"warp": 1}), ("image", {"isr": 1})],
)
def test_a_file_deleted_by_hand_is_made_again_and_nothing_else(first, tmp_path, name, needed):
    lost = first.query(name, collections=["u/first"])[0]
    (tmp_path / "repo" / first.locate(lost, collections=["u/first"]).location).unlink()
    dag = again(first)
    assert counts(dag) == needed
    assert dag.meta.reused.tasks[list(WHOLE).index(next(iter(needed)))].because == {
        "a file is gone or altered": 1
    }
    assert counts(again(first, check=Check.REGISTRY)) == {}
    run(first, dag)
    assert first.get(lost, parameters=None) is not None
    assert counts(again(first, "u/third")) == {}


def test_what_is_needed_to_make_a_lost_file_again_runs_too(first, tmp_path):
    catalogue = first.query("catalogue", collections=["u/first"], patch=1)[0]
    (tmp_path / "repo" / first.locate(catalogue).location).unlink()
    first.remove(first.query("coadd", patch=1), run="u/first")
    first.remove([d for d in first.query("warp", patch=1) if d.dataId["visit"] == 1], run="u/first")
    dag = again(first)
    assert counts(dag) == {"warp": 1, "coadd": 1, "catalogue": 1}
    run(first, dag)


def test_intermediates_removed_on_purpose_are_not_made_again_for_nobody(first):
    first.remove(first.query("warp"), run="u/first")
    first.remove(first.query("image"), run="u/first")
    dag = again(first)
    assert counts(dag) == {}
    told = {t.label: t for t in dag.meta.reused.tasks}
    assert told["warp"].without == 6


def test_a_file_altered_behind_the_registry_is_found_by_its_checksum(first, tmp_path):
    altered = first.query("coadd", collections=["u/first"])[0]
    path = tmp_path / "repo" / first.locate(altered).location
    path.write_bytes(path.read_bytes()[::-1])
    assert counts(again(first)) == {}
    assert counts(again(first, check=Check.CONTENT)) == {"coadd": 1}


def test_an_optional_output_that_was_left_out_is_not_missed(first):
    assert first.query("mask", collections=["u/first"]) == []
    assert counts(again(first)) == {}


def test_a_run_is_extended_by_new_quanta(first):
    add_exposure(first, 3, patches=())
    dag = again(first, "u/first")
    assert counts(dag) == {"isr": 2}
    run(first, dag)
    assert len(first.query("image", collections=["u/first"])) == 8


def test_only_the_collections_named_are_searched(first):
    run(first, again(first, "u/other", collections=("raw",)))
    told = again(first, "u/third", collections=("u/other",)).meta.reused
    assert all(set(t.runs) == {"u/other"} for t in told.tasks)


def test_an_unknown_collection_is_named_with_a_near_one(first):
    with pytest.raises(CollectionError, match=r"'u/frist' to reuse from.*did you mean 'u/first'"):
        again(first, collections=("u/frist",))


def test_a_part_of_the_data_reuses_what_the_whole_made(first):
    dag = again(first, where="visit = 1")
    told = {t.label: t for t in dag.meta.reused.tasks}
    assert told["isr"].reused == 2
    assert told["warp"].reused == 2
    # A patch gathers other visits than before: it is another coadd.
    assert told["coadd"].run == 2
