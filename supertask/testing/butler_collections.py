"""The Butler's contract: collections, and any sequence of changes."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from supertask.butler.port import AbstractButler, CollectionInfo, CollectionKind
from supertask.datasets import Dataset
from supertask.errors import (
    CollectionError,
    DatasetExistsError,
    DatasetNotFoundError,
    RepositoryError,
)
from supertask.testing.survey import (
    RUN,
    ButlerFixtures,
    Flat,
    Notes,
    Raw,
    Summary,
    Table,
    equal,
    fill_with_survey,
    raw,
)

__all__ = ["CollectionContract"]

_numbers = itertools.count()


class CollectionContract(ButlerFixtures):
    """Tests of runs, chains, tags and calibrations."""

    def test_kinds_of_collections_may_be_named_by_texts(self, butler: AbstractButler) -> None:
        """And a text that names none is refused with those that are."""
        butler.create_collection("by/name", "run")
        butler.create_collection("by/name", CollectionKind.RUN)
        butler.create_collection("picked", "TAGGED")
        kinds = {c.name: c.kind for c in butler.collection_infos()}
        assert kinds["by/name"] is CollectionKind.RUN
        assert kinds["picked"] is CollectionKind.TAGGED
        wrong: Any
        for wrong in ("tag", "runn", 5, None):
            with pytest.raises(CollectionError, match=r"kinds are run, chained, tagged"):
                butler.create_collection("wrong", wrong)
        with pytest.raises(CollectionError, match="did you mean 'run'"):
            butler.create_collection("wrong", "runn")

    # -- collections ----------------------------------------------------------------------------------

    def test_the_first_collection_that_has_a_dataset_wins(self, survey: AbstractButler) -> None:
        survey.put("old", raw(101, 0))
        survey.put("old", raw(102, 0))
        survey.run = "u/me/new"
        survey.put("new", raw(101, 0))
        assert survey.get(raw(101, 0)) == "new", "by default the newest run wins"
        survey.collections = (RUN, "u/me/new")
        assert survey.get(raw(101, 0)) == "old"
        assert survey.query(Raw) == [raw(101, 0), raw(102, 0)]
        survey.create_collection("chain", CollectionKind.CHAINED, children=["u/me/new", RUN])
        survey.collections = ("chain",)
        assert survey.get(raw(101, 0)) == "new"
        locations = [survey.locate(raw(e, 0)).location for e in (101, 102)]
        for search in (("chain",), ("u/me/new", RUN), ("u/me/new", "chain")):
            assert sorted(survey.reader(collections=search).datasets(Raw).locations) == sorted(locations)
        survey.set_chain("chain", [RUN])
        assert survey.get(raw(101, 0)) == "old"
        assert len(survey.query(Raw, collections=["u/me/new"])) == 1

    def test_chains_may_hold_chains_but_not_themselves(self, survey: AbstractButler) -> None:
        survey.create_collection("a", CollectionKind.RUN)
        survey.create_collection("inner", CollectionKind.CHAINED, children=["a"])
        survey.create_collection("outer", CollectionKind.CHAINED, children=["inner"])
        for name, children in (("inner", ["outer"]), ("inner", ["inner"])):
            with pytest.raises(CollectionError, match="hold itself"):
                survey.set_chain(name, children)
        with pytest.raises(CollectionError, match="did you mean 'inner'"):
            survey.create_collection("other", CollectionKind.CHAINED, children=["iner"])
        with pytest.raises(CollectionError, match="outer"):
            survey.remove_collection("inner")
        assert [i.name for i in survey.collection_infos()] == ["a", "inner", "outer"]
        assert survey.collection_infos()[1] == CollectionInfo("inner", CollectionKind.CHAINED, "", ("a",))

    def test_collections_keep_their_kind_and_bad_names_are_refused(self, survey: AbstractButler) -> None:
        survey.create_collection("a", CollectionKind.RUN, doc="what")
        survey.create_collection("a", CollectionKind.RUN)
        with pytest.raises(CollectionError, match="RUN"):
            survey.create_collection("a", CollectionKind.TAGGED)
        with pytest.raises(CollectionError, match="already"):
            survey.create_collection("a", CollectionKind.RUN, exist_ok=False)
        for name in ("", "../x", "/abs", "a//b", ".hidden", "a/../b", "a b", "x/"):
            with pytest.raises(CollectionError, match="no name for a collection"):
                survey.create_collection(name, CollectionKind.RUN)
        survey.create_collection("u/me/run1", CollectionKind.RUN)
        with pytest.raises(CollectionError, match="must be RUN"):
            survey.create_collection("t", CollectionKind.TAGGED)
            survey.run = "t"
            survey.put(1, raw(101, 0))
        with pytest.raises(CollectionError, match="nowhere"):
            survey.query(Summary, collections=["nowhere"])

    def test_removing_a_run_removes_its_datasets(self, filled: AbstractButler) -> None:
        filled.put(1, Summary(instrument="Cam", visit=1))
        filled.run = "other"
        filled.put("kept", raw(101, 0))
        filled.remove_collection(RUN)
        assert filled.query(Raw) == [raw(101, 0)]
        assert filled.query(Summary) == []
        assert [i.name for i in filled.collection_infos()] == ["other"]
        filled.run = RUN
        filled.put("again", raw(101, 1))
        assert len(filled.query(Raw)) == 2

    def test_tags_pick_datasets_and_replace_others_of_their_data_id(self, survey: AbstractButler) -> None:
        survey.put("old", raw(101, 0))
        survey.put("old", raw(102, 0))
        survey.run = "new"
        survey.put("new", raw(101, 0))
        survey.create_collection("best", CollectionKind.TAGGED)
        survey.tag("best", [raw(101, 0), raw(102, 0)], run=RUN)
        survey.collections = ("best",)
        assert survey.get(raw(101, 0)) == "old"
        survey.tag("best", [raw(101, 0)], run="new")
        assert survey.get(raw(101, 0)) == "new"
        assert survey.query(Raw) == [raw(101, 0), raw(102, 0)]
        assert len(survey.reader(where=equal("visit", 1)).datasets(Raw).ids) == 1
        survey.remove([raw(101, 0)], run="new")
        assert not survey.exists(raw(101, 0))
        with pytest.raises(DatasetNotFoundError, match="detector=2"):
            survey.tag("best", [raw(101, 2)], run=RUN)
        with pytest.raises(CollectionError, match="must be TAGGED"):
            survey.tag("new", [raw(101, 0)], run=RUN)

    def test_calibrations_have_ranges_of_time_that_do_not_overlap(self, survey: AbstractButler) -> None:
        flats = [Flat(instrument="Cam", detector=d, physical_filter="R1") for d in range(2)]
        for i, run in enumerate(("f1", "f2")):
            survey.run = run
            for flat in flats:
                survey.put(i, flat)
        survey.create_collection("calib", CollectionKind.CALIBRATION)
        survey.certify("calib", flats, None, "2026-01-03", run="f1")
        survey.certify("calib", flats, "2026-01-03T00:00:00 UTC", None, run="f2")
        for begin, end in (("2026-01-01", "2026-01-02"), (None, None)):
            with pytest.raises(CollectionError, match="cannot be valid from") as caught:
                survey.certify("calib", flats[:1], begin, end, run="f1")
        # Both are named, with times as people read them.
        said = str(caught.value)
        assert "detector=0" in said
        assert "from the beginning of time to the end of time" in said
        assert "is valid from the beginning of time to 2026-01-03T00:00:00 UTC" in said
        with pytest.raises(RepositoryError, match="end after it begins"):
            survey.certify("calib", flats, 5, 5, run="f1")
        (rows,) = survey.reader(collections=["f1", "calib"]).calibrations(Flat)
        assert len(rows.datasets.ids) == 4
        assert rows.begin.min() == -(2**63)
        assert rows.end.max() == 2**63 - 1
        cut = rows.end[rows.begin == rows.begin.min()]
        assert (
            set(cut.tolist()) == set(rows.begin[rows.end == rows.end.max()].tolist()) == {1767398437000000000}
        )
        where = equal("detector", 1)
        (rows,) = survey.reader(collections=["calib"], where=where).calibrations(Flat)
        assert len(rows.datasets.ids) == 2
        survey.remove(flats, run="f1")
        (rows,) = survey.reader(collections=["calib"]).calibrations(Flat)
        assert len(rows.datasets.ids) == 2

    def test_provenance_of_a_run_is_kept(self, survey: AbstractButler) -> None:
        survey.create_collection("r", CollectionKind.RUN)
        assert survey.run_provenance("r") == {}
        survey.set_run_provenance("r", {"command": ["run", "x"], "versions": {"numpy": "2"}})
        assert survey.run_provenance("r") == {"command": ["run", "x"], "versions": {"numpy": "2"}}
        with pytest.raises(RepositoryError, match="JSON"):
            survey.set_run_provenance("r", {"bad": object()})
        with pytest.raises(CollectionError, match="did you mean"):
            survey.run_provenance("rr")

    def test_locations_tell_runs_types_and_data_ids_apart_and_stay_inside(
        self, survey: AbstractButler
    ) -> None:
        survey.insert_units("instrument", [{"instrument": "../../etc"}])
        survey.insert_units("detector", [{"instrument": "../../etc", "detector": 0}])
        odd = Table(instrument="../../etc", detector=0)
        handles = [Table(instrument="Cam", detector=0), odd, raw(101, 0), Notes()]
        locations = {survey.location_for(h, run) for h in handles for run in ("a", "u/me/b")}
        assert len(locations) == 8
        for location in locations:
            assert not location.startswith("/")
            assert ".." not in location.split("/")
        survey.put(np.arange(3), odd)
        assert survey.get(odd).tolist() == [0, 1, 2]

    # -- any sequence of changes --------------------------------------------------------------------

    @hypothesis.settings(
        max_examples=20,
        deadline=None,
        # One repository serves all examples, and each subclass runs them on its own Butler.
        suppress_health_check=[
            hypothesis.HealthCheck.function_scoped_fixture,
            hypothesis.HealthCheck.differing_executors,
        ],
    )
    @hypothesis.given(data=st.data())
    def test_any_sequence_of_changes_agrees_with_dicts(
        self, butler: AbstractButler, data: st.DataObject
    ) -> None:
        if not butler.units("instrument"):
            fill_with_survey(butler)
        # Collections of this example alone, as the repository is that of all examples.
        number = next(_numbers)
        runs = [f"run{number}/{i}" for i in range(3)]
        tagged, chain = f"tagged{number}", f"chain{number}"
        for run in runs:
            butler.create_collection(run, CollectionKind.RUN)
        butler.create_collection(tagged, CollectionKind.TAGGED)
        butler.create_collection(chain, CollectionKind.CHAINED, children=[*runs, tagged])
        held: dict[str, dict[Dataset, int]] = {run: {} for run in runs}
        picked: dict[Dataset, tuple[str, int]] = {}
        order = [*runs, tagged]
        some = st.sampled_from(
            [
                raw(101, 0),
                raw(101, 1),
                raw(102, 0),
                raw(900, 2),
                Notes(),
                Summary(instrument="Cam", visit=1),
            ]
        )
        changes = st.sampled_from(["put", "put", "put", "remove", "tag", "chain"])
        value = 0
        for change in data.draw(st.lists(changes, max_size=12)):
            run, handle = data.draw(st.sampled_from(runs)), data.draw(some)
            if change == "put":
                value += 1
                butler.run = run
                if handle in held[run]:
                    with pytest.raises(DatasetExistsError):
                        butler.put(_wrap(handle, value), handle)
                else:
                    assert butler.put(_wrap(handle, value), handle) == handle
                    held[run][handle] = value
            elif change == "remove":
                if handle in held[run]:
                    assert butler.remove([handle], run=run) == 1
                    if picked.get(handle, ("", 0))[0] == run:
                        del picked[handle]
                    del held[run][handle]
                else:
                    with pytest.raises(DatasetNotFoundError):
                        butler.remove([handle], run=run)
            elif change == "tag" and handle in held[run]:
                butler.tag(tagged, [handle], run=run)
                picked[handle] = (run, held[run][handle])
            elif change == "chain":
                order = data.draw(st.permutations([*runs, tagged]))[: data.draw(st.integers(1, 4))]
                butler.set_chain(chain, order)
        butler.collections = (chain,)
        contents: dict[str, dict[Dataset, int]] = {**held, tagged: {h: v for h, (_, v) in picked.items()}}
        expected: dict[Dataset, int] = {}
        for name in order:
            expected = {**contents[name], **expected}
        for handle, kept in expected.items():
            assert butler.get(handle) == _wrap(handle, kept)
        for dataset_type in {type(h) for h in expected}:
            mine = sorted(h for h in expected if type(h) is dataset_type)
            assert butler.query(dataset_type) == mine
            rows = butler.reader().datasets(dataset_type)
            assert sorted(rows.locations) == sorted(butler.locate(h).location for h in mine)


def _wrap(handle: Dataset, value: int) -> Any:
    return str(value) if handle.storage == "text" else {"value": value}
