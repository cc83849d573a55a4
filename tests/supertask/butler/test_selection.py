"""The registry's selections agree with those of the model in plain dicts, whatever is selected."""

from __future__ import annotations

import random

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from supertask.butler.memory import InMemoryButler
from supertask.butler.port import CollectionKind
from supertask.butler.registry import columns as registry_columns
from supertask.butler.registry import sql as registry_sql
from supertask.butler.repository import Butler
from supertask.conditions import (
    And,
    Arithmetic,
    Between,
    Compare,
    Comparison,
    Constant,
    In,
    Like,
    Name,
    Negative,
    Not,
    Or,
    Range,
)
from supertask.datasets import Dataset
from supertask.rows import FileRecord

Raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
Warp = Dataset.subclass("warp", ("visit", "patch"), "json")
Flat = Dataset.subclass("flat", ("detector", "physical_filter"), "json")
Coadd = Dataset.subclass("coadd", ("band", "patch"), "json")

N_VISITS, N_DETECTORS, N_PATCHES = 12, 4, 6


def fill(butler):
    """Fill a repository with two instruments, visits and exposures of which much is null."""
    chance = random.Random(7)
    butler.insert_units("instrument", [{"instrument": i} for i in ("A", "B")])
    butler.insert_units("band", [{"band": b} for b in "gri"])
    butler.insert_units(
        "physical_filter",
        [
            {"instrument": i, "physical_filter": f"{b}{n}", "band": b if n else None}
            for i in "AB"
            for b in "gri"
            for n in range(2)
        ],
    )
    filters = [*(f"{b}{n}" for b in "gri" for n in range(2)), None]
    butler.insert_units(
        "detector",
        [
            {"instrument": i, "detector": d, "purpose": chance.choice(["science", "guide", None])}
            for i in "AB"
            for d in range(N_DETECTORS)
        ],
    )
    butler.insert_units(
        "visit",
        [
            {
                "instrument": i,
                "visit": v,
                "physical_filter": chance.choice(filters),
                "exposure_time": chance.choice([None, 10.0, 30.5, 60.0]),
                "object": chance.choice([None, "M31", "M33", "[x]", "a^b"]),
                "obs_time": chance.choice([None, v * 10**15]),
            }
            for i in "AB"
            for v in range(1, N_VISITS + 1)
        ],
    )
    butler.insert_units(
        "exposure",
        [
            {
                "instrument": i,
                "exposure": e,
                "visit": chance.choice([None, *range(1, N_VISITS + 1)]),
                "physical_filter": chance.choice(filters),
                "obs_type": chance.choice(["bias", "science", None]),
            }
            for i in "AB"
            for e in range(1, 2 * N_VISITS)
        ],
    )
    butler.insert_units("skymap", [{"skymap": "s"}])
    butler.insert_units("tract", [{"skymap": "s", "tract": t} for t in range(2)])
    butler.insert_units(
        "patch",
        [{"skymap": "s", "tract": t, "patch": p, "x": p % 3} for t in range(2) for p in range(N_PATCHES)],
    )
    butler.insert_relation(
        "overlap",
        [
            {"instrument": i, "visit": v, "detector": d, "skymap": "s", "tract": t, "patch": p}
            for i in "AB"
            for v in range(1, N_VISITS + 1)
            for d in range(N_DETECTORS)
            for t in range(2)
            for p in chance.sample(range(N_PATCHES), 2)
        ],
    )

    def register(run, handles):
        butler.register(
            run,
            [
                FileRecord(h, f"/nowhere/{run}/{h.name}/{n}", n, "", n.to_bytes(16, "big"))
                for n, h in enumerate(handles)
            ],
        )

    raws = [
        Raw(instrument=i, exposure=e, detector=d)
        for i in "AB"
        for e in range(1, 2 * N_VISITS)
        for d in range(N_DETECTORS)
    ]
    flats = [
        Flat(instrument=i, detector=d, physical_filter=f)
        for i in "AB"
        for d in range(N_DETECTORS)
        for f in filters
        if f
    ]
    warps = [
        Warp(instrument=i, visit=v, skymap="s", tract=t, patch=p)
        for i in "AB"
        for v in range(1, N_VISITS + 1)
        for t in range(2)
        for p in range(N_PATCHES)
        if chance.random() < 0.7
    ]
    coadds = [Coadd(band=b, skymap="s", tract=1, patch=p) for b in "gr" for p in range(N_PATCHES)]
    register("raw", raws)
    register("u/old", chance.sample(warps, len(warps) // 2) + coadds + flats)
    register("u/new", chance.sample(warps, len(warps) // 2) + coadds[:4])
    butler.create_collection("picked", CollectionKind.TAGGED)
    butler.tag("picked", chance.sample(raws, 20), run="raw")
    return butler


@pytest.fixture(scope="module", params=["look up", "scan", "columns"])
def pair(request, tmp_path_factory):
    """Give a repository and its model of equal content; with look-ups preferred, with scans, without SQL."""
    patch = pytest.MonkeyPatch()
    patch.setattr(registry_columns, "_SMALL", 0)
    patch.setattr(registry_columns, "_SELECTIVE", 1.0 if request.param == "look up" else -1.0)
    if request.param == "columns":
        patch.setattr(registry_sql, "_MOST_TERMS", 0)
    with Butler.create(tmp_path_factory.mktemp("repo") / "r") as butler:
        yield fill(butler), fill(InMemoryButler())
    patch.undo()


INTS = ["visit", "exposure", "detector", "patch", "tract", "patch.x"]
FLOATS = ["visit.exposure_time", "visit.obs_time"]
TEXTS = [
    "instrument",
    "band",
    "physical_filter",
    "visit.object",
    "exposure.obs_type",
    "detector.purpose",
    "skymap",
]


def name(text):
    unit, _, field = text.partition(".")
    return Name(unit, field or None)


small = st.integers(0, 14)
text = st.sampled_from(["A", "B", "g", "r", "g1", "M31", "[x]", "bias", "science", "s", "other"])
numbers = st.one_of(
    st.sampled_from(INTS + FLOATS).map(name),
    small.map(Constant),
    st.sampled_from([10.0, 30.5, 0.5]).map(Constant),
)
operands = st.recursive(
    numbers,
    lambda inner: st.one_of(
        inner.map(Negative), st.builds(Arithmetic, st.sampled_from("+-*/%"), inner, inner)
    ),
    max_leaves=3,
)
comparisons = st.sampled_from(list(Comparison))
patterns = st.sampled_from(
    ["*", "M3?", "[x]", "[[]x]", "[!M]*", "*[^x]b", "g*", "?", "[a-m]*", "a^b", "[^b]*", "[", ""]
)
atoms = st.one_of(
    st.builds(Compare, comparisons, operands, operands),
    st.builds(Compare, comparisons, st.sampled_from(INTS).map(name), small.map(Constant)),
    st.builds(Compare, comparisons, st.sampled_from(TEXTS).map(name), text.map(Constant)),
    st.builds(Between, operands, small.map(Constant), operands),
    st.builds(
        In,
        st.sampled_from(INTS).map(name),
        st.lists(small, max_size=3).map(tuple),
        st.lists(st.builds(Range, small, small, st.integers(1, 3)), max_size=2).map(tuple),
    ),
    st.builds(In, st.sampled_from(TEXTS).map(name), st.lists(text, min_size=1, max_size=3).map(tuple)),
    st.builds(Like, st.sampled_from(TEXTS).map(name), patterns),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(tuple).map(And),
        st.lists(inner, min_size=2, max_size=3).map(tuple).map(Or),
        inner.map(Not),
    ),
    max_leaves=5,
)


def table(rows, columns):
    return sorted(zip(*(np.asarray(c).tolist() for c in columns(rows)), strict=True))


def everything(reader):
    """Return all that a reader gives, in an order of its own making."""
    out = {}
    for unit in reader_units:
        rows = reader.units(unit)
        columns = [rows.keys, *rows.links.values()]
        for field in rows.fields:
            null = rows.nulls.get(field, np.zeros(len(rows.ids), bool))
            columns.append([None if n else v for v, n in zip(rows.fields[field].tolist(), null, strict=True)])
        out[unit] = sorted(map(repr, zip(rows.ids.tolist(), *columns, strict=True)))
    for dataset_type in (Raw, Warp, Flat, Coadd):
        rows = reader.datasets(dataset_type)
        out[dataset_type.name] = sorted(
            zip(
                *(c.tolist() for c in rows.units.values()),
                rows.sizes.tolist(),
                list(rows.locations),
                [i.tobytes() for i in rows.identities],
                strict=True,
            )
        )
    rows = reader.relation("overlap")
    out["overlap"] = sorted(zip(*(c.tolist() for c in rows.units.values()), strict=True))
    return out


reader_units = (
    "instrument", "band", "physical_filter", "visit", "exposure", "detector", "tract", "patch",
)  # fmt: skip
quiet = hypothesis.settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)


@quiet
@hypothesis.given(
    where=conditions,
    collections=st.sampled_from(
        [(), ("raw", "u/new", "u/old"), ("u/old", "u/new"), ("picked",), ("picked", "u/new", "raw")]
    ),
)
def test_any_condition_selects_in_the_registry_what_it_selects_in_the_model(pair, where, collections):
    butler, model = pair
    with butler.reader(collections=collections, where=where) as reader:
        assert everything(reader) == everything(model.reader(collections=collections, where=where))


@quiet
@hypothesis.given(
    where=st.one_of(st.none(), conditions),
    restrictions=st.lists(
        st.tuples(st.sampled_from(reader_units), st.lists(st.integers(1, 30), max_size=8)),
        min_size=1,
        max_size=3,
    ),
)
def test_any_restriction_admits_in_the_registry_what_it_admits_in_the_model(pair, where, restrictions):
    butler, model = pair
    with butler.reader(where=where) as reader:
        other = model.reader(where=where)
        for unit, ids in restrictions:
            reader.restrict(unit, np.array(ids, np.int64))
            other.restrict(unit, np.array(ids, np.int64))
        assert everything(reader) == everything(other)


@quiet
@hypothesis.given(where=st.one_of(st.none(), conditions), band=st.sampled_from([None, "r", "g"]))
def test_queries_agree(pair, where, band):
    butler, model = pair
    units = {} if band is None else {"band": band}
    for dataset_type in (Raw, Warp, Coadd):
        assert butler.query(dataset_type, where=where, **units) == model.query(
            dataset_type, where=where, **units
        )
    assert butler.units("exposure", where) == model.units("exposure", where)
