from __future__ import annotations

import json
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supertask import unitmodels
from supertask.errors import UnitModelError
from supertask.unitmodels import known_unit_models, load_unit_model, unit_model_from_dict, unit_model_to_dict
from supertask.units import FieldKind, KeyKind, Relation, RelationKind, Unit, UnitField, UnitModel
from supertask.yamlfiles.text import dump

MINE = """\
name: radio
units:
  array: {key: str}
  scan:
    parents: array
    implies: [band]
    fields:
      obs_time: time
      length: {kind: float, unit: s}
  band: {key: str}
relations:
  near: {left: scan, right: band}
"""


def test_the_shipped_models_have_the_units_of_their_fields():
    assert set(load_unit_model("imaging").names) == {
        "instrument",
        "detector",
        "physical_filter",
        "band",
        "exposure",
        "visit",
        "skymap",
        "tract",
        "patch",
    }
    assert set(load_unit_model("spectra").names) == {
        "release",
        "telescope",
        "field",
        "object",
        "visit",
        "instrument",
    }


@pytest.mark.parametrize("name", ["imaging", "spectra"])
def test_everything_in_a_shipped_model_is_documented(name):
    model = load_unit_model(name)
    assert model.doc
    for unit in model:
        assert unit.doc
        assert all(f.doc for f in unit.fields)


def test_overlap_is_between_detectors_of_visits_and_patches():
    relation = load_unit_model("imaging").relation("overlap")
    assert (relation.left, relation.right) == (("visit", "detector"), ("patch",))
    assert relation.kind is RelationKind.SPATIAL


names = st.sampled_from(["a", "b", "c", "d_1", "e"])


@st.composite
def models(draw):
    units: list[Unit] = []
    for name in draw(st.lists(names, unique=True, min_size=1)):
        above = [u.name for u in units]
        parents = tuple(draw(st.lists(st.sampled_from(above), unique=True))) if above else ()
        left = [n for n in above if n not in parents]
        implies = tuple(draw(st.lists(st.sampled_from(left), unique=True))) if left else ()
        fields = draw(
            st.lists(
                st.builds(
                    UnitField,
                    st.sampled_from(["f", "g", "h"]),
                    st.sampled_from(FieldKind),
                    st.sampled_from(["", "s"]),
                    st.text(max_size=5),
                ),
                unique_by=lambda f: f.name,
            )
        )
        units.append(
            Unit(name, draw(st.sampled_from(KeyKind)), parents, implies, tuple(fields), draw(st.text()))
        )
    relations = ()
    if len(units) > 1:
        kind = draw(st.sampled_from(RelationKind))
        relations = draw(
            st.sampled_from([(), (Relation("r", (units[0].name,), (units[1].name,), kind, "doc"),)])
        )
    return UnitModel("m", tuple(units), relations, draw(st.integers(0, 5)), draw(st.text()))


@given(models())
def test_a_model_survives_json_and_yaml(tmp_path_factory, model):
    plain = unit_model_to_dict(model)
    assert unit_model_from_dict(json.loads(json.dumps(plain))) == model
    path = tmp_path_factory.getbasetemp() / "model.yaml"
    path.write_text(dump(plain), encoding="utf-8")
    assert load_unit_model(path) == model


def test_a_users_own_model_is_a_short_file(tmp_path):
    path = tmp_path / "radio.yaml"
    path.write_text(MINE)
    model = load_unit_model(str(path))
    assert model.unit("scan") == Unit(
        "scan",
        KeyKind.INT,
        ("array",),
        ("band",),
        (UnitField("obs_time", FieldKind.TIME), UnitField("length", FieldKind.FLOAT, "s")),
    )
    assert model.relation("near").left == ("scan",)


def test_a_model_may_be_python(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from supertask.units import Unit, UnitModel\nmodel = UnitModel('mine', (Unit('x'),))\n")
    assert load_unit_model(path).names == ("x",)


def test_a_model_is_itself():
    model = load_unit_model("imaging")
    assert load_unit_model(model) is model


def test_every_mistake_in_a_file_is_named_with_line_and_column(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "nam: x\n"
        "version: one\n"
        "units:\n"
        "  visit:\n"
        "    kye: int\n"
        "    key: float\n"
        "    parents: [instrment]\n"
        "    fields: {when: tiem, x: 3, y: {unit: 5}}\n"
        "  instrument: str\n"
        "  7: {}\n"
        "relations:\n"
        "  r: {left: visit, right: [1], kind: nearby}\n"
    )
    with pytest.raises(UnitModelError) as caught:
        load_unit_model(path)
    assert [p.replace(f"{path}:", "") for p in caught.value.problems] == [
        "1:1: unknown key 'nam' (did you mean 'name'?); known are name, version, doc, units, relations",
        "1:1: 'name' is missing",
        "2:1: 'version' must be an int, got 'one'",
        "5:5: unknown key 'kye' (did you mean 'key'?); known are key, parents, implies, fields, doc",
        "8:14: 'kind' must be one of int, float, str, bool, time, got 'tiem' (did you mean 'time'?)",
        "8:26: units.visit.fields.x must be a mapping, got 3",
        "8:36: 'unit' must be text, got 5",
        "6:5: 'key' must be one of int, str, date, got 'float'",
        "9:3: units.instrument must be a mapping, got 'str'",
        "10:3: 7 is no name: quote it if it is meant as one",
        "12:20: 'right' must be a list of names, got [1]",
        "12:32: 'kind' must be one of given, spatial, got 'nearby'",
        "unit 'visit': parent 'instrment' is not declared (did you mean 'instrument'?)",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.yaml", "units: [", "this is not plain YAML"),
        ("m.yaml", "- a", r"a unit model must be a mapping, got \['a'\]"),
        ("m.yaml", "", "a unit model must be a mapping, got None"),
        ("m.toml", "", "is a .yaml or a .py file"),
        ("m.py", "x = 1", "does not define 'model' as a UnitModel"),
        ("m.py", "1 / 0", "cannot be run: ZeroDivisionError"),
        ("m.py", "from supertask.units import UnitModel\nmodel = UnitModel('x', ())", "it has no units"),
    ],
)
def test_files_that_are_no_models_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UnitModelError, match=message):
        load_unit_model(path)


def test_what_does_not_exist_is_refused_with_what_does(tmp_path):
    with pytest.raises(UnitModelError, match=r"no unit model 'imagin' \(did you mean 'imaging'\?\)"):
        load_unit_model("imagin")
    with pytest.raises(UnitModelError, match="there is no file"):
        load_unit_model(tmp_path / "none.yaml")


model_of_a_package = UnitModel("theirs", (Unit("x"),))


@pytest.mark.parametrize("attribute", ["model_of_a_package", "make_model"])
def test_packages_offer_models_by_entry_point(monkeypatch, attribute):
    entry = EntryPoint("theirs", f"theirs:{attribute}", unitmodels.ENTRY_POINT_GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **kw: [entry])
    monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[self.attr])
    assert load_unit_model("theirs") == model_of_a_package
    assert known_unit_models() == ("imaging", "spectra", "theirs")


def test_an_entry_point_that_gives_no_model_is_refused(monkeypatch):
    entry = EntryPoint("theirs", "theirs:nothing", unitmodels.ENTRY_POINT_GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **kw: [entry])
    monkeypatch.setattr(EntryPoint, "load", lambda self: dict)
    with pytest.raises(UnitModelError, match=r"'theirs:nothing' gives no UnitModel but \{\}"):
        load_unit_model("theirs")


def make_model():
    return model_of_a_package
