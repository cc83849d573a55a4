from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from supertask.butler.memory import InMemoryButler
from supertask.butler.repository import Butler
from supertask.errors import DataIdError, UnitModelError
from supertask.relations import load_relation
from supertask.relations.rowids import RowIds
from supertask.unitmodels import unit_model_from_dict

MODEL = {
    "name": "observatory",
    "units": {
        "instrument": {"key": "str"},
        "visit": {"parents": "instrument"},
        "block": {"key": "str"},
        "night": {"key": "date"},
    },
    "relations": {"plan": {"left": "visit", "right": ["block", "night"]}},
}
ROWS = [("C", 1, "a", "2026-01-05"), ("C", 2, "a", "2026-01-05"), ("D", 1, "b", "2026-01-06")]
COLUMNS = ("instrument", "visit", "block", "night")


@pytest.fixture(params=["memory", "repository"])
def butler(request, tmp_path):
    model = unit_model_from_dict(MODEL)
    butler = InMemoryButler(model) if request.param == "memory" else Butler.create(tmp_path / "repo", model)
    butler.insert_units("instrument", [{"instrument": i} for i in "CD"])
    butler.insert_units("visit", [{"instrument": i, "visit": v} for i in "CD" for v in (1, 2)])
    butler.insert_units("block", [{"block": b} for b in "ab"])
    butler.insert_units("night", [{"night": f"2026-01-0{d}"} for d in (5, 6)])
    yield butler
    butler.close()


def written(path, rows=ROWS, columns=COLUMNS):
    if path.suffix == ".csv":
        path.write_text("\n".join([",".join(columns), *(",".join(map(str, r)) for r in rows)]) + "\n")
    else:
        table = Table(rows=rows, names=columns)
        table.write(path, **({"format": "ascii.ecsv"} if path.suffix == ".ecsv" else {}))
    return path


def stored(butler):
    with butler.reader() as reader:
        rows = reader.relation("plan").units
        index = RowIds(reader, butler.model)
        keys = {}
        for unit, ids in rows.items():
            keys |= index.keys(unit, ids)
    return sorted(zip(*(keys[c].tolist() for c in COLUMNS), strict=True))


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "parquet"])
def test_a_table_is_loaded_and_loading_it_again_adds_nothing(butler, tmp_path, suffix):
    path = written(tmp_path / f"plan.{suffix}")
    done = load_relation(butler, "plan", path)
    assert (done.rows, done.new, done.repeated) == (3, 3, 0)
    assert load_relation(butler, "plan", path).new == 0
    assert stored(butler) == ROWS


def test_what_is_the_same_in_all_rows_needs_no_column(butler, tmp_path):
    path = written(tmp_path / "plan.csv", [r[1:] for r in ROWS[:2]], COLUMNS[1:])
    assert load_relation(butler, "plan", path, constant={"instrument": "C"}).new == 2
    assert stored(butler) == ROWS[:2]


def test_every_problem_is_named_with_its_row_and_nothing_is_loaded(butler, tmp_path):
    rows = [*ROWS, ("E", 1, "a", "2026-01-05"), ("C", "x1", "a", "2026-01-05"), ("C", 9, "c", "2026-13-05"),
            ROWS[0], ("C", 2, "", "2026-01-06")]  # fmt: skip
    path = written(tmp_path / "plan.csv", rows)
    with pytest.raises(DataIdError) as caught:
        load_relation(butler, "plan", path)
    said = str(caught.value)
    for part in (
        "row 4: instrument=E, visit=1 is not known",
        "row 5: 'visit' must be an int, got 'x1'",
        "row 6: 'night' must be a date",
        "row 7 says the same as row 1",
        "row 8: 'block' is missing",
        "plan.csv for relation 'plan': 5 problems",
    ):
        assert part in said
    assert stored(butler) == []


def test_rows_said_twice_can_be_let_pass(butler, tmp_path):
    path = written(tmp_path / "plan.csv", [*ROWS, ROWS[1]])
    done = load_relation(butler, "plan", path, repeats=True)
    assert (done.rows, done.new, done.repeated) == (4, 3, 1)


def test_columns_are_held_against_the_relation(butler, tmp_path):
    path = written(tmp_path / "plan.csv", [(1, 2, 3)], ("vist", "block", "block"))
    with pytest.raises(DataIdError) as caught:
        load_relation(butler, "plan", path, constant={"night": "soon", "moon": 1})
    said = str(caught.value)
    for part in (
        "column 'vist' is no unit (did you mean 'visit'?)",
        "2 columns 'block'",
        "no column 'visit'",
        "'night' must be a date",
        "'moon' is no unit",
    ):
        assert part in said


def test_many_wrong_rows_are_counted_and_not_all_named(butler, tmp_path):
    path = written(tmp_path / "plan.csv", [("C", 100 + i, "a", "2026-01-05") for i in range(50)])
    with pytest.raises(DataIdError, match="and so in 30 more rows"):
        load_relation(butler, "plan", path)


def test_a_relation_that_the_unit_model_does_not_declare_is_refused(butler, tmp_path):
    with pytest.raises(UnitModelError, match="did you mean 'plan'"):
        load_relation(butler, "plans", written(tmp_path / "plan.csv"))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [("a.csv", "", "no line of column names"), ("a.xls", "", "no table that can be read"),
     ("a.parquet", "what", "cannot be read as a table"), ("b.csv", None, "there is no file")],
)  # fmt: skip
def test_what_is_no_table_is_said(butler, tmp_path, name, text, says):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataIdError, match=says):
        load_relation(butler, "plan", tmp_path / name)


def test_an_empty_table_loads_nothing(butler, tmp_path):
    assert load_relation(butler, "plan", written(tmp_path / "plan.csv", [])).rows == 0


def test_a_true_is_no_number_even_beside_ones(butler, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "plan.parquet"
    columns = {"instrument": ["C"], "visit": [True], "block": ["a"], "night": ["2026-01-05"]}
    parquet.write_table(pa.table(columns), path)
    with pytest.raises(DataIdError, match="'visit' must be an int, got True"):
        load_relation(butler, "plan", path)


def test_row_ids_and_keys_lead_to_each_other(butler):
    with butler.reader() as reader:
        index = RowIds(reader, butler.model)
        keys = {"instrument": np.array(["C", "D", "X", "C"]), "visit": np.array([2, 1, 1, 7])}
        ids = index.ids("visit", keys)
        assert (ids[:2] > 0).all()
        assert ids[2:].tolist() == [-1, -1]
        back = index.keys("visit", ids[:2])
    assert (back["instrument"].tolist(), back["visit"].tolist()) == (["C", "D"], [2, 1])
