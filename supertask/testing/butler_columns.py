"""The Butler's contract: queries, conditions and bulk reading."""

from __future__ import annotations

import numpy as np
import pytest

from supertask.butler.port import AbstractButler
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
from supertask.errors import (
    DataIdError,
    DatasetTypeError,
)
from supertask.rows import RelationRows
from supertask.testing.survey import (
    ButlerFixtures,
    Flat,
    Raw,
    Summary,
    equal,
    keys,
    raw,
)

__all__ = ["ColumnContract"]


class ColumnContract(ButlerFixtures):
    """Tests of queries and of the reader."""

    # -- queries ----------------------------------------------------------------------------------

    def test_query_gives_handles_sorted_by_data_id(self, filled: AbstractButler) -> None:
        found = filled.query("raw")
        assert found == [raw(e, d) for e in (*range(101, 107), 900) for d in range(3)]
        assert found == filled.query(Raw)
        assert list(found[0].dataId) == ["instrument", "exposure", "detector"]

    def test_query_narrows_by_any_unit_that_the_data_ids_determine(self, filled: AbstractButler) -> None:
        assert filled.query(Raw, exposure=102, detector=1) == [raw(102, 1)]
        assert filled.query(Raw, visit=2) == [raw(102, d) for d in range(3)]
        assert {d["exposure"] for d in filled.query(Raw, band="r")} == {101, 103, 105}
        assert filled.query(Raw, band="nope") == []
        with pytest.raises(DataIdError, match="did you mean 'band'"):
            filled.query(Raw, bnd="r")
        with pytest.raises(DatasetTypeError, match="did you mean 'raw'"):
            filled.query("rwa")

    @pytest.mark.parametrize(
        ("where", "exposures"),
        [
            (equal("visit", 2), {102, 900}),
            (In(Name("visit"), (6,), (Range(1, 4, 2),)), {101, 103, 106, 900}),
            (equal("band", "r"), {101, 103, 105, 900}),
            (And((In(Name("visit"), (), (Range(1, 3),)), equal("band", "r"))), {101, 103, 900}),
            (equal("exposure.obs_type", "bias"), {900}),
            (Compare(Comparison.GT, Name("visit", "exposure_time"), Constant(35)), {104, 105, 106, 900}),
            (Between(Name("exposure"), Constant(105), Constant(900)), {105, 106, 900}),
            (Like(Name("visit", "object"), "M[!1]3"), {104, 105, 106, 900}),
            (Not(equal("visit", 1)), {102, 103, 104, 105, 106, 900}),
            (Or((equal("visit", 1), equal("exposure", 900))), {101, 900}),
            (equal("skymap", "other"), {*range(101, 107), 900}),
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
        where = Or(
            (And((equal("visit", 1), equal("detector", 2))), And((equal("visit", 2), equal("detector", 0))))
        )
        found = filled.query(Raw, where=where)
        assert found == [raw(101, 2), raw(102, 0), *(raw(900, d) for d in (0, 2))]
        # It says nothing of rows that do not determine both.
        assert len(filled.units("visit", where)) == 6

    def test_a_condition_may_have_thousands_of_parts(self, filled: AbstractButler) -> None:
        visit = Name("visit")
        longest: list[Condition] = [
            Or(tuple(equal("visit", v) for v in (2, *range(10, 1500)))),
            In(visit, (), tuple(Range(3 * v, 3 * v + 1) for v in range(1, 1500))),
            In(visit, (3, *range(100, 70_000, 2))),
            And(tuple(Compare(Comparison.NE, visit, Constant(v)) for v in range(2, 1500))),
        ]
        found = [[u["visit"] for u in filled.units("visit", where)] for where in longest]
        assert found == [[2], [3, 4, 6], [3], [1]]

    def test_a_condition_on_what_does_not_exist_is_refused(self, filled: AbstractButler) -> None:
        with pytest.raises(DataIdError, match="exposure_time"):
            filled.query(Raw, where=equal("visit.exposure_tim", 1))
        with pytest.raises(DataIdError, match="did you mean 'visit'"):
            filled.query(Raw, where=equal("vist", 1))

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
            handle = raw(key[int(rows.units["exposure"][i])], number[int(rows.units["detector"][i])])
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
        with survey.reader(where=And((equal("visit", 2), equal("patch", 1)))) as reader:
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
        assert keys(reader, "visit") == {2, 3}
        assert keys(reader, "exposure") == {102, 103, 900}
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

    def test_what_was_made_is_read_of_every_run(self, filled: AbstractButler) -> None:
        dataset = min(filled.query(Raw))
        for run in ("u/first", "u/second"):
            filled.put(filled.get(dataset), dataset, run=run)
        reader = filled.reader(collections=["u/second", "u/first"])
        assert len(reader.datasets(Raw).ids) == 1
        made = reader.made(Raw)
        assert made.runs == ("u/second", "u/first")
        assert sorted(made.run.tolist()) == [0, 1]
        assert len(set(made.datasets.locations)) == 2
        reader.restrict("detector", np.array([], np.int64))
        assert len(reader.made(Raw).run) == 0
        assert len(filled.reader().made(Flat).run) == len(filled.query(Flat))

    def test_a_reader_shows_one_moment(self, filled: AbstractButler) -> None:
        reader = filled.reader()
        before = len(reader.units("band").ids)
        filled.insert_units("band", [{"band": "z"}])
        filled.put(1, Summary(instrument="Cam", visit=1))
        assert len(reader.units("band").ids) == before
        assert len(reader.datasets(Summary).ids) == 0
        reader.close()
        assert len(filled.reader().datasets(Summary).ids) == 1

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
        first = survey.units("visit", equal("visit", 1))[0]
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

    def test_rows_of_a_relation_are_taken_out_by_row_id_and_no_others(self, survey: AbstractButler) -> None:
        before = survey.reader().relation("overlap")
        n = len(before.units["patch"])
        some = RelationRows("overlap", {u: np.repeat(ids[: n // 2], 2) for u, ids in before.units.items()})
        assert survey.remove_relation_rows(some) == n // 2
        assert survey.remove_relation_rows(some) == 0
        after = survey.reader().relation("overlap")
        left = sorted(zip(*(ids[n // 2 :].tolist() for ids in before.units.values()), strict=True))
        assert sorted(zip(*(after.units[u].tolist() for u in before.units), strict=True)) == left
        assert survey.insert_relation_rows(some) == n // 2
        with pytest.raises(DataIdError, match="need columns"):
            survey.remove_relation_rows(RelationRows("overlap", {"patch": some.units["patch"]}))
