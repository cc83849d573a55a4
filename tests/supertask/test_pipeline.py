from __future__ import annotations

import sys
import textwrap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supertask.butler.port import DatasetSource
from supertask.configs.config import field
from supertask.connections.fields import (
    CalibrationField,
    InitInputField,
    InitOutputField,
    InputField,
    OutputField,
    SuperTaskConfig,
)
from supertask.datasets import Dataset
from supertask.errors import ConfigError, DatasetNotFoundError, PipelineError, RepositoryError
from supertask.pipelines.pipeline import Pipeline, TaskDef
from supertask.tasks.configurable import ConfigurableField
from supertask.tasks.initsource import InitSource
from supertask.tasks.supertask import SuperTask
from supertask.unitmodels import load_unit_model


class IsrConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(("exposure", "detector"), "fits_image", doc="Raw.")
    flat = CalibrationField(("detector", "physical_filter"), "fits_image", doc="Flat.", minimum=0)
    image = OutputField(("exposure", "detector"), "fits_image", doc="Reduced.")
    level: float = field(1.0, doc="Level.", min=0)


class IsrTask(SuperTask):
    ConfigClass = IsrConfig
    _DefaultName = "isr"


class DetectConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    image = InputField(("exposure", "detector"), "fits_image", doc="Reduced.")
    stars = OutputField(("exposure", "detector"), "fits_table", doc="Stars.")
    schema = InitOutputField(doc="Columns of the stars.")
    sub = ConfigurableField(IsrTask, doc="For its configuration.")
    names: list[str] = field([], doc="Names.")


class DetectTask(SuperTask):
    ConfigClass = DetectConfig
    _DefaultName = "detect"

    def getDatasetSchemas(self):
        return {self.config.schema: {"columns": ["x", "y", *self.config.names]}}


class MatchConfig(SuperTaskConfig):
    quantum_units = ("exposure",)
    stars = InputField(("exposure", "detector"), "fits_table", doc="Stars.")
    schema = InitInputField(doc="Their columns.")
    matches = OutputField("exposure", "fits_table", doc="Matches.")


class MatchTask(SuperTask):
    ConfigClass = MatchConfig
    _DefaultName = "match"

    def __init__(self, butler=None, *, schema=None, **kwargs):
        super().__init__(butler, **kwargs)
        self.schema = butler.get(self.config.schema) if schema is None else schema
        self.butler = butler


class SplitConfig(SuperTaskConfig):
    quantum_units = ("exposure",)
    image = InputField("exposure", "fits_image", doc="With other units.")
    parts = OutputField("patch", "json", doc="Parts.")


class SplitTask(SuperTask):
    ConfigClass = SplitConfig
    _DefaultName = "split"


@pytest.fixture(autouse=True)
def _findable(monkeypatch):
    # Tests are not a package: make the classes here findable by their path.
    module = sys.modules.get(__name__) or type(sys)(__name__)
    monkeypatch.setitem(sys.modules, __name__, module)
    for cls in (IsrTask, DetectTask, MatchTask, SplitTask):
        monkeypatch.setattr(module, cls.__name__, cls, raising=False)


HERE = __name__


def chain():
    return Pipeline("All").add("isr", IsrTask).add("detect", DetectTask).add("match", MatchTask)


# -- a mapping that can be edited ------------------------------------------------------------------


def test_a_pipeline_is_an_ordered_mapping():
    pipeline = chain()
    assert list(pipeline) == ["isr", "detect", "match"]
    assert pipeline["isr"] == TaskDef("isr", IsrTask, IsrConfig())
    assert pipeline["isr"].class_path == f"{HERE}:IsrTask"
    assert "detect" in pipeline
    assert len(pipeline) == 3
    assert repr(pipeline) == "<Pipeline 'All': isr, detect, match>"
    with pytest.raises(
        KeyError, match=r"no task 'detct' \(did you mean 'detect'\?\); it has isr, detect, match"
    ):
        pipeline["detct"]


def test_tasks_are_given_by_class_or_path_with_all_some_or_no_values():
    pipeline = Pipeline().add("a", f"{HERE}:IsrTask", {"level": 2}).add("b", IsrTask, IsrConfig(level=3))
    assert [d.config.level for d in pipeline.values()] == [2.0, 3.0]
    assert pipeline["a"].config.history["level"][-1].source.startswith(f"{__file__}:")


def test_tasks_are_inserted_deleted_replaced_and_renamed_in_place():
    pipeline = (
        chain()
        .insert("again", IsrTask, {"image": "image2"}, after="isr")
        .insert("first", IsrTask, before="isr")
    )
    assert list(pipeline) == ["first", "isr", "again", "detect", "match"]
    pipeline.delete("first").rename("again", "isr2").replace("isr2", DetectTask).replace(
        "isr", config={"level": 4}
    )
    assert list(pipeline) == ["isr", "isr2", "detect", "match"]
    assert pipeline["isr2"] == TaskDef("isr2", DetectTask, DetectConfig())
    assert pipeline["isr"].config.level == 4.0
    pipeline.rename("isr", "isr")
    assert pipeline["isr"].config.level == 4.0


def test_a_copy_is_independent():
    pipeline = chain()
    copy = pipeline.copy().delete("match")
    assert len(pipeline) == 3
    assert copy != pipeline
    assert pipeline == chain()
    assert pipeline != 3


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda p: p.add("isr", IsrTask), r"has a task 'isr' already \(.*:IsrTask\): replace it, or choose"),
        (lambda p: p.add("a b", IsrTask), "'a b' cannot be a label"),
        (lambda p: p.add("a:b", IsrTask), "'a:b' cannot be a label"),
        (lambda p: p.add("a.b", IsrTask), "'a.b' cannot be a label"),
        (lambda p: p.add("x", int), "task 'x': <class 'int'> is no subclass of SuperTask"),
        (
            lambda p: p.add("x", IsrTask, DetectConfig()),
            "IsrTask is configured by a IsrConfig, got DetectConfig",
        ),
        (lambda p: p.insert("x", IsrTask), "say where 'x' goes"),
        (lambda p: p.insert("x", IsrTask, before="isr", after="isr"), "say where 'x' goes"),
        (lambda p: p.insert("x", IsrTask, before="isrr"), r"no task 'isrr' \(did you mean 'isr'\?\)"),
        (lambda p: p.delete("mtch"), r"no task 'mtch' \(did you mean 'match'\?\)"),
        (lambda p: p.replace("x"), "no task 'x'"),
        (lambda p: p.rename("isr", "match"), "has a task 'match' already"),
        (lambda p: p.rename("x", "y"), "no task 'x'"),
    ],
)
def test_edits_that_cannot_be_made_are_refused_and_change_nothing(edit, message):
    pipeline = chain()
    with pytest.raises(PipelineError, match=message):
        edit(pipeline)
    assert pipeline == chain()


# -- order -----------------------------------------------------------------------------------------


def test_order_is_checked_and_mended():
    pipeline = Pipeline().add("match", MatchTask).add("detect", DetectTask).add("isr", IsrTask)
    assert not pipeline.checkOrder()
    assert list(pipeline.sort()) == ["isr", "detect", "match"]
    assert pipeline.checkOrder()


def linked(n, edges):
    """Return n tasks of which b reads what a writes for each edge (a, b)."""
    pipeline = Pipeline()
    for i in range(n):
        body = {"quantum_units": ("visit",), "out": OutputField("visit", "json", doc="O.", name=f"out{i}")}
        for a, b in edges:
            if b == i:
                body[f"in{a}"] = InputField("visit", "json", doc="I.", name=f"out{a}")
        config = type(f"Config{i}", (SuperTaskConfig,), body)
        pipeline.add(f"t{i}", type(f"Task{i}", (SuperTask,), {"ConfigClass": config, "_DefaultName": "t"}))
    return pipeline


@given(st.permutations(range(6)), st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=10))
def test_sorting_obeys_every_edge_and_is_stable(order, pairs):
    edges = {(a, b) for a, b in pairs if order[a] < order[b]}
    pipeline = linked(6, edges)
    before = list(pipeline)
    ordered = pipeline.checkOrder()
    after = list(pipeline.sort())
    assert pipeline.checkOrder()
    assert all(after.index(f"t{a}") < after.index(f"t{b}") for a, b in edges)
    assert sorted(after) == sorted(before)
    if ordered:
        assert after == before


@given(st.integers(1, 5), st.integers(0, 3))
def test_a_cycle_is_shown_with_the_dataset_types_that_close_it(length, extra):
    n = length + extra
    edges = {(i, (i + 1) % length) for i in range(length)} | {(0, j) for j in range(length, n)}
    if length == 1:
        return
    with pytest.raises(PipelineError, match="tasks form a cycle") as caught:
        linked(n, edges).sort()
    for i in range(length):
        assert f"t{i} -(out{i})-> t{(i + 1) % length}" in str(caught.value)
    for j in range(length, n):
        assert f"t{j}" not in str(caught.value)


def test_a_task_that_reads_what_it_writes_is_a_cycle():
    pipeline = Pipeline().add("isr", IsrTask, {"image": "raw"})
    assert not pipeline.checkOrder()
    with pytest.raises(PipelineError, match=r"isr -\(raw\)-> isr"):
        pipeline.sort()


# -- consistency -----------------------------------------------------------------------------------


def problems_of(pipeline, model=None):
    with pytest.raises(PipelineError) as caught:
        pipeline.check(model)
    return list(caught.value.problems)


def test_a_good_pipeline_passes():
    chain().check()
    chain().check(load_unit_model("imaging"))
    Pipeline().check()


def test_everything_wrong_is_named_with_both_sides_at_once():
    pipeline = chain().add("other", IsrTask).add("split", SplitTask, {"parts": "raw"})
    found = problems_of(pipeline)
    assert found[0].startswith("dataset type 'image' has 2 producers, isr.image and other.image")
    assert "dataset type 'raw' has units (exposure, detector) in isr.raw but (patch) in split.parts" in found
    assert "dataset type 'raw' is stored as fits_image in isr.raw but json in split.parts" in found
    assert (
        "dataset type 'image' has units (exposure, detector) in isr.image but (exposure) in split.image"
        in found
    )
    assert found[-1].startswith("tasks form a cycle")


def test_construction_and_quanta_do_not_share_a_dataset_type():
    pipeline = chain().replace("detect", config={"schema": "matches"})
    assert any(
        "'matches' belongs to construction in detect.schema but to quanta in match.matches" in p
        for p in problems_of(pipeline)
    )


def test_parents_need_not_be_named_by_both_sides():
    class WithParent(SuperTaskConfig):
        quantum_units = ("exposure", "detector")
        image = InputField(("instrument", "exposure", "detector"), "fits_image", doc="The same.")
        more = OutputField(("exposure", "detector"), "json", doc="More.")

    task = type("T", (SuperTask,), {"ConfigClass": WithParent, "_DefaultName": "t"})
    pipeline = Pipeline().add("isr", IsrTask).add("t", task)
    pipeline.check(load_unit_model("imaging"))
    assert "has units" in problems_of(pipeline)[0]


def test_units_are_held_against_the_model():
    class Odd(SuperTaskConfig):
        quantum_units = ("exposur",)
        raw = InputField("detectr", "json", doc="R.", select={"exposure.obs_tpe": 1, "bnd": "r", "visit": 3})

    pipeline = Pipeline().add("odd", type("T", (SuperTask,), {"ConfigClass": Odd, "_DefaultName": "t"}))
    pipeline.check()
    found = problems_of(pipeline, load_unit_model("imaging"))
    assert [p.split(";")[0] for p in found] == [
        "odd, quantum_units: unit model 'imaging' has no unit 'exposur' (did you mean 'exposure'?)",
        "odd.raw: unit model 'imaging' has no unit 'detectr' (did you mean 'detector'?)",
        "odd.raw, select: unit 'exposure' has no field 'obs_tpe' (did you mean 'obs_type'?)",
        "odd.raw, select: unit model 'imaging' has no unit 'bnd' (did you mean 'band'?)",
    ]


def test_dataset_types_say_who_makes_and_who_reads_them():
    uses = chain().dataset_types()
    assert {n: (u.producer, u.consumers, u.init) for n, u in uses.items()} == {
        "raw": (None, ("isr",), False),
        "flat": (None, ("isr",), False),
        "image": ("isr", ("detect",), False),
        "stars": ("detect", ("match",), False),
        "schema": ("detect", ("match",), True),
        "matches": ("match", (), False),
    }
    assert uses["image"].dataset_type == IsrConfig().image
    assert set(chain().overall_inputs()) == {"raw", "flat"}


# -- overrides -------------------------------------------------------------------------------------


def test_overrides_are_text_pairs_or_a_mapping_and_are_remembered():
    pipeline = chain().applyConfigOverrides(
        ["isr:level=2", ("detect:sub.level", 3), ("detect:names", "[a, b]")]
    )
    pipeline.applyConfigOverrides({"isr:level": 5}, source="notebook")
    pipeline.applyConfigOverrides(["isr:raw=my_raw"], source="--config")
    assert pipeline["detect"].config.sub.config.level == 3.0
    assert pipeline["detect"].config.names == ["a", "b"]
    assert pipeline["isr"].config.raw.name == "my_raw"
    history = pipeline["isr"].config.history
    assert [(s.value, s.source) for s in history["level"]] == [
        (1.0, "default"),
        (2.0, "isr:level=2"),
        (5.0, "notebook"),
    ]
    assert history["raw"][-1].source == "--config"
    assert pipeline["detect"].config.history["sub.level"][-1].source.startswith(f"{__file__}:")


THREE = "it has isr, detect, match"


def test_all_bad_overrides_are_named_at_once_and_none_is_applied():
    pipeline = chain()
    with pytest.raises(ConfigError) as caught:
        pipeline.applyConfigOverrides(
            [
                "isr:level=2",
                "level=2",
                "isrr:level=2",
                "isr:level",
                "isr:levl=2",
                "isr:level=-1",
                "detect:sub.level=x",
                ("nothing", 3),
            ]
        )
    assert list(caught.value.problems) == [
        "override 'level=2' names no task: write it as label:field=value",
        f"override 'isrr:level=2': the pipeline has no task 'isrr' (did you mean 'isr'?); {THREE}",
        "override 'isr:level': override 'level' has no '=': write it as field=value",
        "override 'nothing' names no task: write it as label:field=value",
        (
            "isr:levl: IsrConfig has no such field (did you mean 'level'?); "
            "it has raw, flat, image, level, policy"
        ),
        "isr:level: must be at least 0, got -1.0",
        "detect:sub.level: must be a float, got 'x' (str)",
    ]
    assert pipeline == chain()


# -- construction ----------------------------------------------------------------------------------


def test_tasks_are_constructed_in_order_with_what_earlier_ones_made_known():
    pipeline = chain().applyConfigOverrides(["detect:names=[flux]"])
    isr, detect, match = pipeline.makeTasks()
    assert match.schema == {"columns": ["x", "y", "flux"]}
    assert [t.name for t in (isr, detect, match)] == ["isr", "detect", "match"]
    assert match.butler.get("detect_config")["names"] == ["flux"]
    assert match.butler.exists("isr_config")
    assert not match.butler.exists("none")


class Shelf(DatasetSource):
    def get(self, dataset, dataId=None, /, *, parameters=None, **units):
        if dataset.name != "schema":
            raise DatasetNotFoundError("not here")
        return "from the repository"

    def put(self, value, dataset, dataId=None, /, **units):
        raise AssertionError

    def exists(self, dataset, dataId=None, /, **units):
        return dataset.name == "schema"


def test_init_inputs_that_nobody_makes_come_from_the_butler():
    (match,) = Pipeline().add("match", MatchTask).makeTasks(Shelf())
    assert match.schema == "from the repository"
    assert match.butler.exists(match.config.schema)


def test_tasks_that_cannot_be_constructed_are_named():
    with pytest.raises(
        PipelineError, match=r"task 'match' cannot be constructed: there is no 'schema'.*nothing"
    ):
        Pipeline().add("match", MatchTask).makeTasks()

    class Broken(IsrTask):
        def __init__(self, butler=None, **kwargs):
            raise ValueError("oh no")

    with pytest.raises(PipelineError, match=r"task 'b' .* cannot be constructed: ValueError: oh no"):
        Pipeline().add("b", Broken).makeTasks()


def test_schemas_are_those_declared():
    class Silent(DetectTask):
        def getDatasetSchemas(self):
            return {Dataset.subclass("other", (), "yaml"): 1}

    with pytest.raises(PipelineError) as caught:
        Pipeline().add("detect", Silent).makeTasks()
    assert caught.value.problems == (
        "nothing is returned for the InitOutputField 'schema' ('schema')",
        "<dataset type 'other' () as yaml> is not declared: add an InitOutputField to the configuration",
    )


def test_nothing_is_put_while_tasks_are_constructed():
    with pytest.raises(RepositoryError, match="return it from getDatasetSchemas"):
        InitSource().put(1, "schema")


# -- files -----------------------------------------------------------------------------------------


def test_a_pipeline_survives_its_file(tmp_path):
    pipeline = chain().applyConfigOverrides(
        ["isr:level=2", "isr:raw=my_raw", "detect:sub.level=3", "detect:names=['no', '1']"]
    )
    pipeline.save(tmp_path / "p.yaml")
    assert Pipeline.load(tmp_path / "p.yaml") == pipeline
    assert Pipeline.from_dict(pipeline.to_dict()) == pipeline
    text = (tmp_path / "p.yaml").read_text()
    assert "flat" not in text
    assert text.startswith("description: All\ntasks:\n  isr:\n    class: ")


def test_a_file_may_be_short_and_reach_into_configurations(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        textwrap.dedent(f"""\
        description: From raw frames to stars.
        tasks:
          isr: {HERE}:IsrTask
          detect:
            class: {HERE}:DetectTask
            config:
              names: [a]
              sub.level: 4
          match: {{class: {HERE}:MatchTask, config: }}
        """)
    )
    pipeline = Pipeline.load(path)
    assert pipeline.description == "From raw frames to stars."
    assert list(pipeline) == ["isr", "detect", "match"]
    assert pipeline["detect"].config.sub.config.level == 4.0
    assert pipeline["detect"].config.history["sub.level"][-1].source == f"{path}:8:7"
    assert pipeline["detect"].config.history["names"][-1].source == f"{path}:7:7"


def test_every_mistake_in_a_file_has_its_line_and_column(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        textwrap.dedent(f"""\
        descripton: x
        description: 3
        tasks:
          isr:
            class: {HERE}:IsrTas
          isr2:
            class: {HERE}:IsrTask
            konfig: {{}}
            config:
              level: a
              levl: 2
              raw: 3
          a b: {HERE}:IsrTask
          c: 3
          d: {{config: {{}}}}
          e: {{class: {HERE}:IsrTask, config: [1]}}
          f: nowhere_at_all:Task
          g: {HERE}:IsrConfig
        """)
    )
    with pytest.raises(PipelineError) as caught:
        Pipeline.load(path)
    found = [p.replace(f"{path}:", "").replace(HERE, "M") for p in caught.value.problems]
    assert len(found) == 13
    said = "\n".join(found)
    for message in (
        "1:1: unknown key 'descripton' (did you mean 'description'?); known are description, parameters",
        "2:1: 'description' must be text, got 3",
        "5:5: task 'isr': cannot import 'M:IsrTas': 'M' has no class 'IsrTas' (did you mean 'IsrTask'?)",
        "8:5: unknown key 'konfig' (did you mean 'config'?); known are class, config",
        "10:7: level: must be a float, got 'a' (str)",
        "11:7: levl: IsrConfig has no such field (did you mean 'level'?); it has raw, flat, image, level",
        "12:7: raw: must be the name of a dataset type (exposure, detector) as fits_image, got 3 (int)",
        "13:3: 'a b' cannot be a label",
        "14:3: 'c' must be text or a mapping, got 3",
        "15:3: task 'd' needs 'class', a path as package.module:Class",
        "'config' must be a mapping, got [1]",
        "17:3: task 'f': cannot import 'nowhere_at_all:Task'",
        "18:3: task 'g': 'M:IsrConfig' is no SuperTask: it derives from SuperTaskConfig",
    ):
        assert message in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a pipeline must be a mapping"),
        ("- a", "a pipeline must be a mapping"),
        ("tasks: [", "not plain YAML"),
        ("tasks: 3", "'tasks' must be a mapping, got 3"),
        ("description: x", "'tasks' or 'imports' is missing"),
        ("tasks:\n  a: x:Y\n  a: x:Y", "3:3: the key 'a' is here a second time"),
    ],
)
def test_files_that_are_no_pipelines_are_refused(tmp_path, text, message):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(PipelineError, match=message):
        Pipeline.load(tmp_path / "p.yaml")
    with pytest.raises(PipelineError, match="cannot read"):
        Pipeline.load(tmp_path / "none.yaml")


def test_a_cross_check_that_fails_is_placed_at_the_configuration(tmp_path):
    class Checked(IsrConfig):
        def validate(self):
            if self.level > 10:
                yield "level is beyond measure"

    task = type(
        "CheckedTask", (SuperTask,), {"ConfigClass": Checked, "_DefaultName": "c", "__module__": HERE}
    )
    sys.modules[HERE].CheckedTask = task
    path = tmp_path / "p.yaml"
    path.write_text(f"tasks:\n  c:\n    class: {HERE}:CheckedTask\n    config: {{level: 11}}\n")
    with pytest.raises(PipelineError, match=r"p\.yaml:4:5: level is beyond measure"):
        Pipeline.load(path)


def test_a_hundred_tasks_load_and_check_in_half_a_second(tmp_path, monkeypatch):
    module = sys.modules[HERE]
    tasks = {}
    for i in range(100):
        body = {"quantum_units": ("visit",), "x": field(1.0, doc="X."), "__annotations__": {"x": float}}
        for j in range(4):
            body[f"out{j}"] = OutputField("visit", "json", doc="O.", name=f"out_{i}_{j}")
            if i:
                body[f"in{j}"] = InputField("visit", "json", doc="I.", name=f"out_{i - 1}_{j}")
        config = type(f"Config{i}", (SuperTaskConfig,), body)
        task = type(f"Big{i}", (SuperTask,), {"ConfigClass": config, "_DefaultName": "t", "__module__": HERE})
        monkeypatch.setattr(module, f"Big{i}", task, raising=False)
        tasks[f"t{i}"] = f"  t{i}:\n    class: {HERE}:Big{i}\n    config: {{x: {i}}}\n"
    path = tmp_path / "big.yaml"
    path.write_text("tasks:\n" + "".join(tasks[label] for label in sorted(tasks)))
    model = load_unit_model("imaging")
    begin = time.process_time()
    pipeline = Pipeline.load(path).sort()
    pipeline.check(model)
    spent = time.process_time() - begin
    assert len(pipeline.dataset_types()) == 400
    assert list(pipeline) == [f"t{i}" for i in range(100)]
    assert spent < 0.5
