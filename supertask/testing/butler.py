"""The contract of Butlers, as tests: what every data repository must do.

A package that has a Butler of its own tests it so::

    class TestMyButler(ButlerContract):
        @pytest.fixture
        def butler(self, tmp_path):
            return MyButler.create(tmp_path / "repo", "imaging")
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from supertask.butler.content import checksum_file
from supertask.butler.port import AbstractButler, CollectionInfo, CollectionKind, Reader
from supertask.conditions import (
    And,
    Between,
    Compare,
    Comparison,
    Condition,
    Constant,
    In,
    Like,
    Name,
    Not,
    Or,
    Range,
)
from supertask.datasets import Dataset
from supertask.errors import (
    CollectionError,
    DataIdError,
    DatasetExistsError,
    DatasetNotFoundError,
    DatasetTypeError,
    RepositoryError,
    StorageError,
)
from supertask.rows import FileRecord, RelationRows

__all__ = ["ButlerContract", "fill_with_survey"]

Raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
Summary = Dataset.subclass("visit_summary", ("visit",), "json")
Flat = Dataset.subclass("flat", ("detector", "physical_filter"), "json")
Notes = Dataset.subclass("notes", (), "text")
Table = Dataset.subclass("curve", ("detector",), "numpy")

_RUN = "raw/all"
_numbers = itertools.count()


def fill_with_survey(butler: AbstractButler) -> None:
    """Make a small survey known: 6 visits in two bands by 3 detectors over 4 patches, and a bias exposure."""
    butler.insert_units("instrument", [{"instrument": "Cam"}])
    butler.insert_units("band", [{"band": "g"}, {"band": "r"}])
    butler.insert_units(
        "physical_filter",
        [{"instrument": "Cam", "physical_filter": f"{b.upper()}1", "band": b} for b in "gr"]
        + [{"instrument": "Cam", "physical_filter": "clear"}],
    )
    butler.insert_units("detector", [{"instrument": "Cam", "detector": d} for d in range(3)])
    visits = [
        {
            "instrument": "Cam",
            "visit": v,
            "physical_filter": "R1" if v % 2 else "G1",
            "exposure_time": 10.0 * v,
            "obs_time": f"2026-01-0{v}T03:00:00",
            "object": "M31" if v < 4 else "M33",
        }
        for v in range(1, 7)
    ]
    butler.insert_units("visit", visits)
    butler.insert_units(
        "exposure",
        [
            {
                "instrument": "Cam",
                "exposure": 100 + v,
                "visit": v,
                "physical_filter": "R1" if v % 2 else "G1",
                "obs_type": "science",
            }
            for v in range(1, 7)
        ]
        + [{"instrument": "Cam", "exposure": 900, "obs_type": "bias"}],
    )
    butler.insert_units("skymap", [{"skymap": "sky"}])
    butler.insert_units("tract", [{"skymap": "sky", "tract": 0}])
    butler.insert_units("patch", [{"skymap": "sky", "tract": 0, "patch": p} for p in range(4)])
    butler.insert_relation(
        "overlap",
        [
            {"instrument": "Cam", "visit": v, "detector": d, "skymap": "sky", "tract": 0, "patch": p}
            for v in range(1, 7)
            for d in range(3)
            for p in (d, d + 1)
        ],
    )


def _raw(exposure: int, detector: int) -> Dataset:
    return Raw(instrument="Cam", exposure=exposure, detector=detector)


def _is(name: str, value: Any) -> Compare:
    unit, _, field = name.partition(".")
    return Compare(Comparison.EQ, Name(unit, field or None), Constant(value))


def _keys(reader: Reader, unit: str) -> set[Any]:
    return set(reader.units(unit).keys.tolist())


class ButlerContract:
    """Tests that every Butler must pass; override the fixture `butler`."""

    @pytest.fixture
    def butler(self, tmp_path: Path) -> AbstractButler:
        """Return a new, empty Butler of the unit model ``imaging``."""
        raise NotImplementedError("override the fixture `butler` with one that makes your Butler")

    @pytest.fixture
    def survey(self, butler: AbstractButler) -> AbstractButler:
        """Return the Butler with a small survey known, writing to a run."""
        fill_with_survey(butler)
        butler.run = _RUN
        return butler

    @pytest.fixture
    def filled(self, survey: AbstractButler) -> AbstractButler:
        """Return the Butler with raws of all exposures and detectors."""
        for exposure in (*range(101, 107), 900):
            for detector in range(3):
                survey.put({"at": [exposure, detector]}, _raw(exposure, detector))
        return survey

    # -- put and get ------------------------------------------------------------------------------

    def test_what_was_put_is_got_by_every_way_of_saying_it(self, survey: AbstractButler) -> None:
        handle = survey.put({"a": 1}, Raw, {"instrument": "Cam"}, exposure=101, detector=2)
        assert handle == _raw(101, 2)
        assert survey.get(handle) == {"a": 1}
        assert survey.get(Raw, {"instrument": "Cam", "exposure": 101, "detector": 2}) == {"a": 1}
        assert survey.get("raw", instrument="Cam", exposure=np.int64(101), detector=2) == {"a": 1}
        assert survey.exists(handle)

    def test_a_type_without_units_has_one_dataset(self, survey: AbstractButler) -> None:
        survey.put("remember", Notes())
        assert survey.get("notes") == "remember"
        assert survey.query(Notes) == [Notes()]
        with pytest.raises(DatasetExistsError):
            survey.put("again", Notes())

    def test_a_value_that_is_changed_after_put_or_get_changes_nothing(self, survey: AbstractButler) -> None:
        value = {"a": [1]}
        survey.put(value, _raw(101, 0))
        value["a"].append(2)
        survey.get(_raw(101, 0))["a"].append(3)
        assert survey.get(_raw(101, 0)) == {"a": [1]}

    def test_deferred_and_partial_reads(self, survey: AbstractButler) -> None:
        handle = Table(instrument="Cam", detector=1)
        survey.put({"x": np.arange(3), "y": np.ones(2)}, handle)
        deferred = survey.get_deferred(handle)
        assert set(deferred.get()) == {"x", "y"}
        assert list(deferred.get(arrays=["x"])) == ["x"]
        assert list(survey.get(handle, parameters={"arrays": ["y"]})) == ["y"]
        with pytest.raises(StorageError, match="has no parameter 'array'.*did you mean 'arrays'"):
            survey.get(handle, parameters={"array": ["y"]})

    def test_what_is_in_a_run_is_written_once(self, survey: AbstractButler) -> None:
        survey.put(1, _raw(101, 0))
        with pytest.raises(DatasetExistsError, match=r"raw\{.*exposure=101"):
            survey.put(2, _raw(101, 0))
        assert survey.get(_raw(101, 0)) == 1

    def test_put_without_a_run_says_how_to_set_one(self, survey: AbstractButler) -> None:
        survey.run = None
        with pytest.raises(RepositoryError, match="run="):
            survey.put(1, _raw(101, 0))

    def test_put_of_unknown_units_names_them(self, survey: AbstractButler) -> None:
        with pytest.raises(DataIdError, match="exposure 555"):
            survey.put(1, _raw(555, 0))
        assert not survey.exists(_raw(555, 0))
        assert survey.query(Raw) == [] if "raw" in survey.dataset_types() else True

    def test_a_value_that_the_format_does_not_keep_is_refused_and_leaves_nothing(
        self, survey: AbstractButler
    ) -> None:
        with pytest.raises(StorageError, match=r"raw\{.*object"):
            survey.put(object(), _raw(101, 0))
        assert not survey.exists(_raw(101, 0))
        survey.put(1, _raw(101, 0))
        assert survey.get(_raw(101, 0)) == 1

    def test_what_is_not_there_is_said_with_the_collections_searched(self, filled: AbstractButler) -> None:
        with pytest.raises(DatasetNotFoundError, match="raw/all"):
            filled.get(_raw(555, 0))
        assert not filled.exists(_raw(555, 0))
        with pytest.raises(DatasetTypeError, match="did you mean 'raw'"):
            filled.get("row", instrument="Cam", exposure=101, detector=0)
        with pytest.raises(DataIdError, match="did you mean 'exposure'"):
            filled.get("raw", instrument="Cam", exposre=101, detector=0)
        with pytest.raises(DataIdError, match="'detector' is missing"):
            filled.get("raw", instrument="Cam", exposure=101)
        with pytest.raises(DataIdError, match="must be an int"):
            filled.get("raw", instrument="Cam", exposure="101", detector=0)

    # -- dataset types ----------------------------------------------------------------------------

    def test_a_type_is_registered_once_and_may_not_change(self, survey: AbstractButler) -> None:
        assert survey.register_type(Raw)
        assert not survey.register_type(Raw)
        assert not survey.register_type(Dataset.subclass("raw", ("detector", "exposure"), "json"))
        assert survey.dataset_types() == {"raw": Raw}
        other = Dataset.subclass("raw", ("exposure", "detector"), "fits_image")
        with pytest.raises(DatasetTypeError, match=r"(?s)json.*fits_image|fits_image.*json"):
            survey.register_type(other)
        with pytest.raises(DatasetTypeError):
            survey.put(1, other(instrument="Cam", exposure=101, detector=0))
        with pytest.raises(DataIdError, match="telescope"):
            survey.register_type(Dataset.subclass("odd", ("telescope",), "json"))

    # -- queries ----------------------------------------------------------------------------------

    def test_query_gives_handles_sorted_by_data_id(self, filled: AbstractButler) -> None:
        found = filled.query("raw")
        assert found == [_raw(e, d) for e in (*range(101, 107), 900) for d in range(3)]
        assert found == filled.query(Raw)
        assert list(found[0].dataId) == ["instrument", "exposure", "detector"]

    def test_query_narrows_by_any_unit_that_the_data_ids_determine(self, filled: AbstractButler) -> None:
        assert filled.query(Raw, exposure=102, detector=1) == [_raw(102, 1)]
        assert filled.query(Raw, visit=2) == [_raw(102, d) for d in range(3)]
        assert {d["exposure"] for d in filled.query(Raw, band="r")} == {101, 103, 105}
        assert filled.query(Raw, band="nope") == []
        with pytest.raises(DataIdError, match="did you mean 'band'"):
            filled.query(Raw, bnd="r")
        with pytest.raises(DatasetTypeError, match="did you mean 'raw'"):
            filled.query("rwa")

    @pytest.mark.parametrize(
        ("where", "exposures"),
        [
            (_is("visit", 2), {102, 900}),
            (In(Name("visit"), (6,), (Range(1, 4, 2),)), {101, 103, 106, 900}),
            (_is("band", "r"), {101, 103, 105, 900}),
            (And((In(Name("visit"), (), (Range(1, 3),)), _is("band", "r"))), {101, 103, 900}),
            (_is("exposure.obs_type", "bias"), {900}),
            (Compare(Comparison.GT, Name("visit", "exposure_time"), Constant(35)), {104, 105, 106, 900}),
            (Between(Name("exposure"), Constant(105), Constant(900)), {105, 106, 900}),
            (Like(Name("visit", "object"), "M[!1]3"), {104, 105, 106, 900}),
            (Not(_is("visit", 1)), {102, 103, 104, 105, 106, 900}),
            (Or((_is("visit", 1), _is("exposure", 900))), {101, 900}),
            (_is("skymap", "other"), {*range(101, 107), 900}),
        ],
        ids=str,
    )
    def test_a_condition_leaves_out_what_it_makes_false_and_lets_null_pass(
        self, filled: AbstractButler, where: Condition, exposures: set[int]
    ) -> None:
        assert {d["exposure"] for d in filled.query(Raw, where=where)} == exposures
        assert {row["exposure"] for row in filled.units("exposure", where)} == exposures
        rows = filled.reader(where=where).datasets(Raw)
        assert len(rows.ids) == 3 * len(exposures)

    def test_a_condition_on_two_leaves_is_met_row_by_row(self, filled: AbstractButler) -> None:
        where = Or((And((_is("visit", 1), _is("detector", 2))), And((_is("visit", 2), _is("detector", 0)))))
        found = filled.query(Raw, where=where)
        assert found == [_raw(101, 2), _raw(102, 0), *(_raw(900, d) for d in (0, 2))]
        # It says nothing of rows that do not determine both.
        assert len(filled.units("visit", where)) == 6

    def test_a_condition_on_what_does_not_exist_is_refused(self, filled: AbstractButler) -> None:
        with pytest.raises(DataIdError, match="exposure_time"):
            filled.query(Raw, where=_is("visit.exposure_tim", 1))
        with pytest.raises(DataIdError, match="did you mean 'visit'"):
            filled.query(Raw, where=_is("vist", 1))

    # -- in bulk ----------------------------------------------------------------------------------

    def test_reader_gives_aligned_columns(self, filled: AbstractButler) -> None:
        with filled.reader() as reader:
            rows = reader.datasets(Raw)
            exposures, detectors = reader.units("exposure"), reader.units("detector")
        key = dict(zip(exposures.ids.tolist(), exposures.keys.tolist(), strict=True))
        number = dict(zip(detectors.ids.tolist(), detectors.keys.tolist(), strict=True))
        assert set(rows.units) == {"exposure", "detector"}
        assert rows.identities.shape == (21, 16)
        assert len(set(rows.ids.tolist())) == len(rows.locations) == len(rows.sizes) == 21
        for i in range(21):
            handle = _raw(key[int(rows.units["exposure"][i])], number[int(rows.units["detector"][i])])
            record = filled.locate(handle)
            assert record.location == rows.locations[i]
            assert record.identity == rows.identities[i].tobytes()
            assert record.size == rows.sizes[i]

    def test_reader_gives_units_with_links_fields_and_nulls(self, survey: AbstractButler) -> None:
        with survey.reader() as reader:
            exposures, visits = reader.units("exposure"), reader.units("visit", ["exposure_time", "object"])
            filters = reader.units("physical_filter", ())
        assert set(visits.fields) == {"exposure_time", "object"}
        at = {k: i for i, k in enumerate(visits.keys.tolist())}
        assert visits.fields["exposure_time"][at[3]] == 30.0
        assert visits.fields["object"][at[3]] == "M31"
        bias = exposures.keys.tolist().index(900)
        assert exposures.links["visit"][bias] == exposures.links["physical_filter"][bias] == -1
        assert exposures.nulls["exposure_time"].all()
        assert exposures.nulls["obs_time"][bias]
        assert "obs_type" not in exposures.nulls
        linked = exposures.links["visit"][exposures.keys.tolist().index(104)]
        assert visits.keys[visits.ids.tolist().index(linked)] == 4
        assert filters.fields == {}
        assert sorted(filters.keys.tolist()) == ["G1", "R1", "clear"]
        with pytest.raises(DataIdError, match="did you mean 'object'"):
            survey.reader().units("visit", ["objct"])

    def test_reader_gives_relations_narrowed_on_both_sides(self, survey: AbstractButler) -> None:
        assert len(survey.reader().relation("overlap").units["patch"]) == 36
        with survey.reader(where=And((_is("visit", 2), _is("patch", 1)))) as reader:
            rows = reader.relation("overlap")
            visits, patches = reader.units("visit"), reader.units("patch")
        assert set(rows.units) == {"visit", "detector", "patch"}
        assert len(rows.units["visit"]) == 2
        assert set(rows.units["visit"].tolist()) == set(visits.ids.tolist())
        assert set(rows.units["patch"].tolist()) == set(patches.ids.tolist())

    def test_restrict_admits_only_some_ids_and_null(self, filled: AbstractButler) -> None:
        reader = filled.reader()
        visits = reader.units("visit")
        two = visits.ids[np.isin(visits.keys, [2, 3])]
        reader.restrict("visit", two)
        assert _keys(reader, "visit") == {2, 3}
        assert _keys(reader, "exposure") == {102, 103, 900}
        assert len(reader.datasets(Raw).ids) == 9
        assert set(reader.relation("overlap").units["visit"].tolist()) == set(two.tolist())
        reader.restrict("detector", np.array([], np.int64))
        assert len(reader.datasets(Raw).ids) == 0

    def test_reader_of_an_unknown_type_has_no_rows(self, survey: AbstractButler) -> None:
        rows = survey.reader().datasets(Raw)
        assert len(rows.ids) == 0
        assert rows.identities.shape == (0, 16)
        assert set(rows.units) == {"exposure", "detector"}
        assert survey.reader().calibrations(Flat) == []

    def test_a_reader_shows_one_moment(self, filled: AbstractButler) -> None:
        reader = filled.reader()
        before = len(reader.units("band").ids)
        filled.insert_units("band", [{"band": "z"}])
        filled.put(1, Summary(instrument="Cam", visit=1))
        assert len(reader.units("band").ids) == before
        assert len(reader.datasets(Summary).ids) == 0
        reader.close()
        assert len(filled.reader().datasets(Summary).ids) == 1

    # -- registering files that are in place --------------------------------------------------------

    @staticmethod
    def _records(folder: Path, detectors: range, exposure: int = 101) -> list[FileRecord]:
        records = []
        for detector in detectors:
            path = folder / f"{exposure}-{detector}.json"
            path.write_text(json.dumps({"detector": detector}))
            size, checksum = path.stat().st_size, checksum_file(path)
            identity = bytes([detector]) * 16
            records.append(FileRecord(_raw(exposure, detector), str(path), size, checksum, identity))
        return records

    def test_registered_files_are_read_and_left_alone(self, survey: AbstractButler, tmp_path: Path) -> None:
        records = self._records(tmp_path, range(3))
        assert survey.register(_RUN, records) == 3
        assert survey.get(_raw(101, 2)) == {"detector": 2}
        assert survey.locate(_raw(101, 1)) == records[1]
        assert survey.remove([_raw(101, 1)], run=_RUN) == 1
        assert not survey.exists(_raw(101, 1))
        assert Path(records[1].location).exists()

    def test_registering_twice_is_refused_or_passed_over(
        self, survey: AbstractButler, tmp_path: Path
    ) -> None:
        records = self._records(tmp_path, range(3))
        survey.register(_RUN, records[:2])
        with pytest.raises(DatasetExistsError, match="detector=0"):
            survey.register(_RUN, records)
        assert not survey.exists(_raw(101, 2)), "all or none"
        assert survey.register(_RUN, records, skip_existing=True) == 1
        assert survey.register(_RUN, records, skip_existing=True) == 0
        assert survey.register("other/run", records) == 3
        assert survey.register(_RUN, []) == 0

    def test_registering_unknown_units_names_them_and_does_nothing(
        self, survey: AbstractButler, tmp_path: Path
    ) -> None:
        records = self._records(tmp_path, range(2)) + self._records(tmp_path, range(2), exposure=777)
        with pytest.raises(DataIdError, match="exposure=777|exposure 777"):
            survey.register(_RUN, records)
        assert not survey.exists(_raw(101, 0))

    def test_a_registered_file_that_is_gone_is_said(self, survey: AbstractButler, tmp_path: Path) -> None:
        records = self._records(tmp_path, range(1))
        survey.register(_RUN, records)
        Path(records[0].location).unlink()
        assert not survey.exists(_raw(101, 0))
        with pytest.raises(StorageError, match=r"101-0\.json is gone"):
            survey.get(_raw(101, 0))

    # -- removing -----------------------------------------------------------------------------------

    def test_removed_datasets_can_be_put_again(self, filled: AbstractButler) -> None:
        assert filled.remove([_raw(101, 0), _raw(101, 1)], run=_RUN) == 2
        assert not filled.exists(_raw(101, 0))
        assert len(filled.query(Raw)) == 19
        filled.put("new", _raw(101, 0))
        assert filled.get(_raw(101, 0)) == "new"
        with pytest.raises(DatasetNotFoundError, match="detector=1"):
            filled.remove([_raw(101, 0), _raw(101, 1)], run=_RUN)
        assert filled.exists(_raw(101, 0)), "all or none"

    # -- units --------------------------------------------------------------------------------------

    def test_units_are_given_back_as_inserted(self, survey: AbstractButler) -> None:
        rows = survey.units("visit")
        assert [row["visit"] for row in rows] == [1, 2, 3, 4, 5, 6]
        first = rows[0]
        assert first["instrument"] == "Cam"
        assert first["physical_filter"] == "R1"
        assert first["exposure_time"] == 10.0
        assert first["ra"] is None
        assert isinstance(first["obs_time"], int)
        assert survey.units("band") == [{"band": "g"}, {"band": "r"}]
        # What was given back may be given in again.
        assert survey.insert_units("visit", rows) == 0
        assert survey.units("visit") == rows

    def test_units_there_already_are_passed_over_and_their_nulls_filled(self, survey: AbstractButler) -> None:
        row = {"instrument": "Cam", "visit": 1, "ra": 12.5}
        assert survey.insert_units("visit", [row, {"instrument": "Cam", "visit": 7}]) == 1
        first = survey.units("visit", _is("visit", 1))[0]
        assert first["ra"] == 12.5
        assert first["exposure_time"] == 10.0
        with pytest.raises(DataIdError, match=r"(?s)visit=1.*ra is 13\.0.*12\.5"):
            survey.insert_units("visit", [{**row, "ra": 13.0}, {"instrument": "Cam", "visit": 8}])
        assert len(survey.units("visit")) == 7, "all or none"

    def test_every_mistake_in_rows_of_units_is_told_at_once(self, survey: AbstractButler) -> None:
        with pytest.raises(DataIdError) as caught:
            survey.insert_units(
                "visit",
                [
                    {"instrument": "Cam", "visit": "x"},
                    {"instrument": "Cam"},
                    {"instrument": "Cam", "visit": 11, "exposure_tim": 1.0},
                    {"instrument": "Cam", "visit": 12, "exposure_time": "long"},
                    {"instrument": "Cam", "visit": 13, "obs_time": "yesterday"},
                    {"instrument": "Cam", "visit": 14},
                ],
            )
        said = str(caught.value)
        for words in (
            "must be an int",
            "'visit' is missing",
            "did you mean 'exposure_time'",
            "'long'",
            "yesterday",
        ):
            assert words in said
        with pytest.raises(DataIdError) as caught:
            survey.insert_units(
                "visit",
                [
                    {"instrument": "Can", "visit": 1},
                    {"instrument": "Cam", "visit": 9, "physical_filter": "Z9"},
                ],
            )
        assert "'Can' is not known" in str(caught.value)
        assert "'Z9' is not known" in str(caught.value)
        assert len(survey.units("visit")) == 6

    def test_relations_are_passed_over_when_there_and_name_what_is_unknown(
        self, survey: AbstractButler
    ) -> None:
        row = {"instrument": "Cam", "visit": 1, "detector": 0, "skymap": "sky", "tract": 0, "patch": 3}
        assert survey.insert_relation("overlap", [row, row]) == 1
        assert survey.insert_relation("overlap", [row]) == 0
        with pytest.raises(DataIdError, match=r"(?s)visit 99 is not known.*patch 77 is not known"):
            survey.insert_relation("overlap", [{**row, "visit": 99}, {**row, "patch": 77}])
        with pytest.raises(DataIdError, match="'patch' is missing"):
            survey.insert_relation("overlap", [{k: v for k, v in row.items() if k != "patch"}])

    def test_relations_go_in_by_row_id(self, survey: AbstractButler) -> None:
        rows = survey.reader().relation("overlap")
        assert survey.insert_relation_rows(rows) == 0
        one = np.ones(1, np.int64)
        columns = {"visit": one, "detector": one, "patch": survey.reader().units("patch").ids.max()[None]}
        assert survey.insert_relation_rows(RelationRows("overlap", columns)) == 1
        with pytest.raises(DataIdError, match="patch"):
            survey.insert_relation_rows(RelationRows("overlap", {**columns, "patch": one * 1000}))

    # -- collections ----------------------------------------------------------------------------------

    def test_the_first_collection_that_has_a_dataset_wins(self, survey: AbstractButler) -> None:
        survey.put("old", _raw(101, 0))
        survey.put("old", _raw(102, 0))
        survey.run = "u/me/new"
        survey.put("new", _raw(101, 0))
        assert survey.get(_raw(101, 0)) == "new", "by default the newest run wins"
        survey.collections = (_RUN, "u/me/new")
        assert survey.get(_raw(101, 0)) == "old"
        assert survey.query(Raw) == [_raw(101, 0), _raw(102, 0)]
        survey.create_collection("chain", CollectionKind.CHAINED, children=["u/me/new", _RUN])
        survey.collections = ("chain",)
        assert survey.get(_raw(101, 0)) == "new"
        locations = [survey.locate(_raw(e, 0)).location for e in (101, 102)]
        for search in (("chain",), ("u/me/new", _RUN), ("u/me/new", "chain")):
            assert sorted(survey.reader(collections=search).datasets(Raw).locations) == sorted(locations)
        survey.set_chain("chain", [_RUN])
        assert survey.get(_raw(101, 0)) == "old"
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
            survey.put(1, _raw(101, 0))
        with pytest.raises(CollectionError, match="nowhere"):
            survey.query(Summary, collections=["nowhere"])

    def test_removing_a_run_removes_its_datasets(self, filled: AbstractButler) -> None:
        filled.put(1, Summary(instrument="Cam", visit=1))
        filled.run = "other"
        filled.put("kept", _raw(101, 0))
        filled.remove_collection(_RUN)
        assert filled.query(Raw) == [_raw(101, 0)]
        assert filled.query(Summary) == []
        assert [i.name for i in filled.collection_infos()] == ["other"]
        filled.run = _RUN
        filled.put("again", _raw(101, 1))
        assert len(filled.query(Raw)) == 2

    def test_tags_pick_datasets_and_replace_others_of_their_data_id(self, survey: AbstractButler) -> None:
        survey.put("old", _raw(101, 0))
        survey.put("old", _raw(102, 0))
        survey.run = "new"
        survey.put("new", _raw(101, 0))
        survey.create_collection("best", CollectionKind.TAGGED)
        survey.tag("best", [_raw(101, 0), _raw(102, 0)], run=_RUN)
        survey.collections = ("best",)
        assert survey.get(_raw(101, 0)) == "old"
        survey.tag("best", [_raw(101, 0)], run="new")
        assert survey.get(_raw(101, 0)) == "new"
        assert survey.query(Raw) == [_raw(101, 0), _raw(102, 0)]
        assert len(survey.reader(where=_is("visit", 1)).datasets(Raw).ids) == 1
        survey.remove([_raw(101, 0)], run="new")
        assert not survey.exists(_raw(101, 0))
        with pytest.raises(DatasetNotFoundError, match="detector=2"):
            survey.tag("best", [_raw(101, 2)], run=_RUN)
        with pytest.raises(CollectionError, match="must be TAGGED"):
            survey.tag("new", [_raw(101, 0)], run=_RUN)

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
            with pytest.raises(CollectionError, match="calibration"):
                survey.certify("calib", flats[:1], begin, end, run="f1")
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
        where = _is("detector", 1)
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
        handles = [Table(instrument="Cam", detector=0), odd, _raw(101, 0), Notes()]
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
                _raw(101, 0),
                _raw(101, 1),
                _raw(102, 0),
                _raw(900, 2),
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
