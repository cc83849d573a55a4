from __future__ import annotations

import textwrap
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supertask.configs.config import field
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.errors import ConfigError, PipelineError
from supertask.pipelines.dataoverrides import (
    RANK_USER,
    applied,
    combined,
    disagreement,
    drops,
    expression,
    make_override,
)
from supertask.pipelines.pipeline import Pipeline
from supertask.tasks.supertask import SuperTask
from supertask.unitmodels import load_unit_model


class ReduceConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(("exposure", "detector"), "numpy", doc="Raw.")
    image = OutputField(("exposure", "detector"), "numpy", doc="Reduced.")
    level: float = field(1.0, doc="Level.", unit="adu", min=0, max=10)
    order: int = field(2, doc="Order.")
    boxes: list[int] = field([1, 2], doc="Boxes.")


class ReduceTask(SuperTask):
    ConfigClass = ReduceConfig
    _DefaultName = "reduce"


class CarefulTask(ReduceTask):
    version = "2"


class OtherConfig(ReduceConfig):
    image = OutputField(("exposure",), "numpy", doc="Reduced.")


class OtherTask(SuperTask):
    ConfigClass = OtherConfig
    _DefaultName = "other"


HERE = __name__
FILE = f"""\
# Kept by hand.
parameters: {{high: 9.0}}
tasks:
  reduce:
    class: {HERE}:ReduceTask
    config: {{level: 2.0}}
    overrides:
      # the red ones
      - when: {{instrument: HSC, band: [g, r]}}   # both
        config: {{level: $high}}
      - when: exposure < 10
        class: {HERE}:CarefulTask
      - when: {{detector: 9}}
        drop: true
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(FILE)
    return path


def message(tmp_path, text, check=None):
    path = tmp_path / "p.yaml"
    path.write_text(textwrap.dedent(text))
    with pytest.raises((PipelineError, ConfigError)) as error:
        Pipeline.load(path).check(check)
    return str(error.value).replace(f"{tmp_path}/", "")


def test_overrides_are_read_in_order_with_their_places(path):
    pipeline = Pipeline.load(path)
    red, early, broken = pipeline.overrides
    assert red.when == {"instrument": "HSC", "band": ["g", "r"]}
    assert red.source == f"{path}:9:9"
    assert early.task_class == f"{HERE}:CarefulTask"
    assert broken.drop
    assert str(red) == f"{path}:9:9 (when instrument = 'HSC' AND band IN ('g', 'r'))"
    pipeline.check(load_unit_model("imaging"))


def test_values_of_an_override_remember_their_line(path):
    pipeline = Pipeline.load(path)
    variant = applied(pipeline["reduce"], pipeline.overrides[0], pipeline.parameters)
    assert [s.value for s in variant.config.history["level"]] == [1.0, 2.0, 9.0]
    assert variant.config.history["level"][-1].source == f"{path}:10:18"


def test_an_edit_keeps_the_remarks_of_overrides(path):
    pipeline = Pipeline.load(path).add_override("reduce", "band = 'i'", {"order": 3})
    pipeline.remove_override(pipeline.overrides[1])
    text = pipeline.to_text(path)
    assert "# the red ones" in text
    assert "# both" in text
    assert "$high" in text
    path.write_text(text)
    assert Pipeline.load(path) == pipeline


def test_plain_data_has_values_in_the_place_of_references(path):
    pipeline = Pipeline.load(path)
    said = pipeline.to_dict()
    assert said["tasks"]["reduce"]["overrides"][0]["config"] == {"level": 9.0}
    assert Pipeline.from_dict(said) == pipeline


def test_overrides_follow_a_new_label_and_leave_with_their_task(path):
    pipeline = Pipeline.load(path).rename("reduce", "isr")
    assert {o.label for o in pipeline.overrides} == {"isr"}
    assert Pipeline().merge(pipeline, rename={"isr": "again"}).overrides[0].label == "again"
    assert not pipeline.delete("isr").overrides


def test_a_file_adds_to_the_overrides_that_it_imports(path, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(
        "imports: [p.yaml]\ntasks:\n  reduce:\n    overrides: [{when: {band: z}, config: {order: 5}}]\n"
    )
    pipeline = Pipeline.load(other)
    assert len(pipeline.overrides) == 4
    pipeline.add_override("reduce", {"band": "y"}, {"order": 6})
    pipeline.save(other)
    assert "imports" in other.read_text()
    assert Pipeline.load(other) == pipeline


def test_the_importing_file_stands_over_what_it_imports_unless_ranks_are_said(path, tmp_path):
    middle, top = tmp_path / "middle.yaml", tmp_path / "top.yaml"
    entry = "{{when: {{band: r}}, config: {{order: {}}}{}}}"
    middle.write_text(
        "imports: [p.yaml]\ntasks:\n  reduce:\n    overrides:\n"
        f"    - {entry.format(5, '')}\n    - {entry.format(6, ', rank: 7')}\n"
    )
    top.write_text(f"imports: [middle.yaml]\ntasks:\n  reduce:\n    overrides: [{entry.format(7, '')}]\n")
    pipeline = Pipeline.load(top)
    assert [o.rank for o in pipeline.overrides] == [8, 8, 8, 9, 7, 10]
    red = [o for o in pipeline.overrides if "band" in o.when and "order" in o.config]
    assert disagreement(pipeline["reduce"], red, pipeline.parameters) is None
    assert combined(pipeline["reduce"], red, pipeline.parameters).config.order == 7
    assert Pipeline.from_dict(pipeline.to_dict()) == pipeline
    pipeline.add_override("reduce", {"band": "y"}, {"order": 9}).save(top)
    assert "rank" not in top.read_text()
    assert Pipeline.load(top) == pipeline
    merged = Pipeline().merge(Pipeline.load(middle)).add_override("reduce", {"band": "r"}, {"order": 7})
    assert [o.rank for o in merged.overrides] == [8, 8, 8, 9, 7, 10]


def test_another_class_in_a_file_is_another_task_without_imported_overrides(path, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(f"imports: [p.yaml]\ntasks:\n  reduce: {HERE}:ReduceTask\n")
    assert Pipeline.load(other).overrides == ()


def test_every_mistake_has_its_place(tmp_path):
    said = message(
        tmp_path,
        f"""\
        tasks:
          reduce:
            class: {HERE}:ReduceTask
            overrides:
              - when: {{band: r}}
                config: {{levl: 2}}
              - when: {{band: r}}
                config:
                  order: many
              - when: {{band: r}}
              - when: {{band: r}}
                class: {HERE}:CarfulTask
              - when: {{band: {{a: 1}}}}
                drop: true
              - when: {{band: r}}
                config: {{level: $none}}
              - when: {{band: r}}
                config: {{level: 11}}
        """,
    )
    assert "p.yaml:6:18: levl: no such field" in said or "did you mean 'level'" in said
    for place in (
        "p.yaml:6:",
        "p.yaml:9:",
        "p.yaml:10:",
        "p.yaml:11:",
        "p.yaml:13:",
        "p.yaml:16:",
        "p.yaml:18:",
    ):
        assert place in said
    assert "it changes nothing" in said
    assert "did you mean 'CarefulTask'" in said


def test_units_that_are_unknown_or_not_told_by_the_quantum_are_refused(tmp_path):
    said = message(
        tmp_path,
        f"""\
        tasks:
          reduce:
            class: {HERE}:ReduceTask
            overrides:
              - {{when: {{bnd: r}}, config: {{order: 1}}}}
              - {{when: {{patch: 3}}, config: {{order: 1}}}}
              - {{when: {{exposure.airmas: 3}}, config: {{order: 1}}}}
        """,
        load_unit_model("imaging"),
    )
    assert (
        "p.yaml:5:9: override of 'reduce': when: unit model 'imaging' has no unit 'bnd' (did you mean" in said
    )
    assert "a quantum is for each (exposure, detector), which does not tell its patch" in said
    assert "did you mean 'airmass'" in said


def test_an_override_cannot_change_what_is_read_or_written(tmp_path):
    said = message(
        tmp_path,
        f"""\
        tasks:
          reduce:
            class: {HERE}:ReduceTask
            overrides:
              - {{when: {{band: r}}, config: {{raw: rawer}}}}
              - {{when: {{band: r}}, class: '{HERE}:OtherTask'}}
        """,
    )
    assert "it would not read 'raw' but 'rawer'" in said
    assert "units of 'image' would be exposure rather than exposure, detector" in said


def test_the_command_line_says_things_for_data_too(path):
    pipeline = Pipeline.load(
        path, ["reduce{band = 'r'}:order=7", "reduce{}:level=3", "reduce{detector=4}:drop"]
    )
    order, level, drop = pipeline.overrides[-3:]
    assert (order.when, order.config, order.rank) == ("band = 'r'", {"order": 7}, RANK_USER)
    assert level.config == {"level": 3.0}
    assert drop.drop
    assert order.source == "reduce{band = 'r'}:order=7"
    assert pipeline["reduce"].config.level == 2.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("reduc{band='r'}:order=1", "did you mean 'reduce'"),
        ("reduce{band='r'}:ordr=1", "did you mean 'order'"),
        ("reduce{band='r'}:order=x", "order"),
        ("reduce{band='r'}:order", "has no '='"),
    ],
)
def test_mistakes_in_overrides_on_the_command_line(path, text, words):
    with pytest.raises(ConfigError, match="override") as error:
        Pipeline.load(path, [text])
    assert words in str(error.value)


def test_those_of_equal_rank_must_agree():
    pipeline = Pipeline().add("reduce", ReduceTask)
    one = make_override("reduce", {"band": "r"}, {"level": 2.0, "order": 4}, source="a")
    other = make_override("reduce", {"detector": 1}, {"level": 3.0, "order": 4}, source="b")
    assert disagreement(pipeline["reduce"], [one, other], {}) == (one, other, "level: 2.0 and 3.0")
    higher = attrs.evolve(other, rank=11)
    assert disagreement(pipeline["reduce"], [one, higher], {}) is None
    swap = make_override("reduce", "", task_class=CarefulTask)
    assert disagreement(pipeline["reduce"], [one, swap], {}) is None


def test_a_higher_rank_may_take_back_a_drop():
    low = make_override("reduce", {}, drop=True)
    high = make_override("reduce", {"band": "r"}, drop=False, rank=11)
    assert drops([low]) is low
    assert drops([low, high]) is None


def test_conditions_are_expressions_whatever_is_in_them():
    assert expression({"band": "r'x", "detector": [1, 2]}) == "band = 'r''x' AND detector IN (1, 2)"
    assert expression({}) == ""


values = st.fixed_dictionaries(
    {},
    optional={
        "level": st.floats(0, 10),
        "order": st.integers(-5, 5),
        "boxes": st.lists(st.integers(0, 9), min_size=1, max_size=3),
    },
).filter(bool)
conditions = st.one_of(
    st.dictionaries(
        st.sampled_from(["band", "detector", "exposure.airmass"]),
        st.one_of(
            st.integers(0, 9), st.text(max_size=5), st.lists(st.integers(0, 9), min_size=1, max_size=3)
        ),
        max_size=2,
    ),
    st.sampled_from(["band = 'r'", "exposure < 10 AND NOT detector = 3"]),
)
entries = st.lists(st.tuples(conditions, values, st.integers(0, 20)), max_size=4)


@settings(deadline=None)
@given(entries, entries)
def test_pipelines_with_overrides_read_back_equal(tmp_path_factory, first, second):
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    pipeline = Pipeline().add("reduce", ReduceTask)
    for when, config, rank in first:
        pipeline.add_override("reduce", when, config, rank=rank)
    pipeline.save(path)
    again = Pipeline.load(path)
    assert again == pipeline
    assert again.overrides == pipeline.overrides
    for when, config, rank in second:
        again.add_override("reduce", when, config, rank=rank)
    again.save(path)
    assert Pipeline.load(path) == again
    assert Pipeline.from_dict(again.to_dict()) == again


class TableConfig(ReduceConfig):
    table: Path = field(Path("none.csv"), doc="A table.")


class TableTask(SuperTask):
    ConfigClass = TableConfig
    _DefaultName = "table"


def test_paths_are_relative_to_the_file_that_names_them(tmp_path):
    (tmp_path / "sub").mkdir()
    path, elsewhere = tmp_path / "p.yaml", tmp_path / "sub" / "p.yaml"
    path.write_text(
        f"tasks:\n  a:\n    class: {HERE}:TableTask\n    overrides:\n"
        "      - when: {band: r}   # red\n        config: {table: ./red.csv}\n"
    )
    pipeline = Pipeline.load(path)
    assert pipeline.to_dict()["tasks"]["a"]["overrides"][0]["config"] == {"table": f"{tmp_path}/red.csv"}
    pipeline.add_override("a", {"band": "g"}, {"order": 4})
    pipeline.save(path)
    assert "./red.csv" in path.read_text()
    assert "# red" in path.read_text()
    pipeline.save(elsewhere)
    assert Pipeline.load(elsewhere) == Pipeline.load(path) == pipeline
