from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supertask.configs.config import Config, field
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.errors import ConfigError, ExpressionError, PipelineError
from supertask.pipelines.parts import Step
from supertask.pipelines.pipeline import Pipeline
from supertask.tasks.configurable import ConfigurableField
from supertask.tasks.supertask import SuperTask
from supertask.tasks.task import Task
from supertask.unitmodels import load_unit_model


class FitConfig(Config):
    order: int = field(2, doc="Order.", min=0)


class FitTask(Task):
    ConfigClass = FitConfig
    _DefaultName = "fit"


class IsrConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(("exposure", "detector"), "fits_image", doc="Raw.")
    image = OutputField(("exposure", "detector"), "fits_image", doc="Reduced.")
    level: float = field(1.0, doc="Level.", min=0)
    title: str = field("", doc="Title.")
    orders: list[int] = field([], doc="Orders.")
    fit = ConfigurableField(FitTask, doc="Fit.")


class IsrTask(SuperTask):
    ConfigClass = IsrConfig
    _DefaultName = "isr"


class OtherIsrTask(IsrTask):
    pass


class DetectConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    image = InputField(("exposure", "detector"), "fits_image", doc="Reduced.")
    stars = OutputField(("exposure", "detector"), "fits_table", doc="Stars.")
    threshold: float = field(5.0, doc="Threshold.", min=0)


class DetectTask(SuperTask):
    ConfigClass = DetectConfig
    _DefaultName = "detect"


HERE = __name__


@pytest.fixture(autouse=True)
def _findable(monkeypatch):
    # Tests are not a package: make the classes here findable by their path.
    module = sys.modules.get(__name__) or type(sys)(__name__)
    monkeypatch.setitem(sys.modules, __name__, module)
    for cls in (FitTask, IsrTask, OtherIsrTask, DetectTask):
        monkeypatch.setattr(module, cls.__name__, cls, raising=False)


@pytest.fixture
def write(tmp_path):
    def writing(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).replace("HERE", HERE))
        return path

    return writing


COMMON = """\
# What all surveys share.
description: Common
parameters:
  threshold: 4.0        # in sigma
  name: {type: str, default: a survey, doc: Whose frames these are.}
tasks:
  isr:
    class: HERE:IsrTask
    config:
      title: "frames of ${name} for $$5"
      fit.order: 3      # enough
  detect:
    class: HERE:DetectTask
    config:
      threshold: $threshold
subsets:
  frames: [isr]
  stars:
    labels: [detect]
    description: What is found.
steps:
  - frames
  - {subset: stars, units: [exposure]}
contracts:
  - contract: detect.threshold > isr.level
    message: what is clipped cannot be found
"""


def problems_of(path, **kwargs):
    with pytest.raises(PipelineError) as caught:
        Pipeline.load(path, **kwargs)
    return [p.replace(f"{Path(path).parent}/", "") for p in caught.value.problems]


# -- parameters ------------------------------------------------------------------------------------


def test_configurations_refer_to_parameters(write):
    pipeline = Pipeline.load(write("p.yaml", COMMON))
    assert pipeline["detect"].config.threshold == 4.0
    assert pipeline["isr"].config.title == "frames of a survey for $5"
    pipeline.set_parameters({"threshold": 6}, source="notebook")
    assert pipeline["detect"].config.threshold == 6.0
    assert pipeline["detect"].config.history["threshold"][-1].source == "notebook"
    assert pipeline.parameters["name"].doc == "Whose frames these are."


def test_parameters_are_set_as_overrides_too(write):
    path = write("p.yaml", COMMON)
    for pipeline in (
        Pipeline.load(path).applyConfigOverrides(["parameters:threshold=7", "isr:level=2"]),
        Pipeline.load(path, ["parameters:threshold=7", "isr:level=2"]),
    ):
        assert pipeline["detect"].config.threshold == 7.0
        assert pipeline["isr"].config.level == 2.0


def test_what_is_overridden_no_longer_follows_its_parameter(write):
    pipeline = Pipeline.load(write("p.yaml", COMMON)).applyConfigOverrides(["detect:threshold=9"])
    assert pipeline.set_parameters({"threshold": 6})["detect"].config.threshold == 9.0


def test_a_parameter_without_default_must_be_given(write):
    path = write("p.yaml", """\
        parameters: {level: {type: float, doc: Level., min: 0}}
        tasks: {isr: {class: "HERE:IsrTask", config: {level: $level}}}
        """)  # fmt: skip
    (problem,) = problems_of(path)
    assert problem.startswith("p.yaml:1:14: parameter 'level' has no default, so it must be given")
    assert Pipeline.load(path, ["parameters:level=3"])["isr"].config.level == 3.0
    importing = write("q.yaml", "imports: [p.yaml]\nparameters: {level: 4}\n")
    assert Pipeline.load(importing)["isr"].config.level == 4.0
    assert "must be at least 0, got -1.0" in problems_of(path, overrides=["parameters:level=-1"])[0]


def test_wrong_values_of_parameters_are_refused_where_they_are_given(write):
    path = write("p.yaml", COMMON)
    importing = write("q.yaml", "imports: [p.yaml]\nparameters: {threshold: high}\n")
    assert any(
        p.startswith("q.yaml:2:14: ") and "must be a float, got 'high'" in p for p in problems_of(importing)
    )
    with pytest.raises(ConfigError, match=r"no parameter 'treshold' \(did you mean 'threshold'\?\)"):
        Pipeline.load(path).applyConfigOverrides(["parameters:treshold=1"])
    with pytest.raises(PipelineError, match=r"no parameter 'treshold' \(did you mean 'threshold'\?\)"):
        Pipeline.load(path, ["parameters:treshold=1"])


@pytest.mark.parametrize(
    ("type_", "default", "kept"),
    [("bool", True, True), ("float", 1, 1.0), ("list[int]", [1, 2], [1, 2]), ("path", "a/b", Path("a/b"))],
)
def test_parameters_are_typed(type_, default, kept):
    assert Pipeline().add_parameter("x", default, type=type_).parameters["x"].value == kept


def test_parameters_that_make_no_sense_are_refused():
    with pytest.raises(PipelineError, match=r"'flot' is no type \(did you mean 'float'\?\)"):
        Pipeline().add_parameter("x", 1, type="flot")
    with pytest.raises(PipelineError, match="it has no type"):
        Pipeline().add_parameter("x", None)
    with pytest.raises(PipelineError, match="a quantity needs 'unit'"):
        Pipeline().add_parameter("x", "1 s", type="quantity")
    with pytest.raises(PipelineError, match="must be one of 'g', 'r', got 'z'"):
        Pipeline().add_parameter("x", "z", choices=["g", "r"])
    with pytest.raises(PipelineError, match="already"):
        Pipeline().add_parameter("x", 1).add_parameter("x", 2)


# -- imports ---------------------------------------------------------------------------------------


def test_a_file_stands_over_what_it_imports(write):
    write("common/p.yaml", COMMON)
    path = write("q.yaml", """\
        imports:
          - location: common/p.yaml
            rename: {detect: find}
        parameters: {threshold: 6.5}
        tasks:
          isr:
            config: {level: 2}
          more: {class: "HERE:IsrTask", config: {raw: image, image: image2}}
        """)  # fmt: skip
    pipeline = Pipeline.load(path)
    assert list(pipeline) == ["isr", "find", "more"]
    assert pipeline["find"].config.threshold == 6.5
    assert (pipeline["isr"].config.level, pipeline["isr"].config.fit.config.order) == (2.0, 3)
    assert pipeline.subsets["stars"].labels == ("find",)
    assert [c.expression for c in pipeline.contracts] == ["find.threshold > isr.level"]
    assert pipeline.description == ""


def test_imports_leave_out_and_pick(write):
    write("p.yaml", COMMON)
    assert list(Pipeline.load(write("a.yaml", "imports: [{location: p.yaml, exclude: [stars]}]"))) == ["isr"]
    assert list(Pipeline.load(write("b.yaml", "imports: [{location: p.yaml, include: [stars]}]"))) == [
        "detect"
    ]
    assert list(Pipeline.load(write("c.yaml", "imports: ['p.yaml#frames']"))) == ["isr"]
    again = Pipeline.load(write("d.yaml", "imports: [a.yaml, c.yaml, b.yaml]"))
    assert list(again) == ["isr", "detect"]


def test_a_class_of_its_own_replaces_an_imported_task(write):
    write("p.yaml", COMMON)
    pipeline = Pipeline.load(write("q.yaml", "imports: [p.yaml]\ntasks: {isr: 'HERE:OtherIsrTask'}"))
    assert pipeline["isr"].task_class is OtherIsrTask
    assert pipeline["isr"].config.fit.config.order == 2


def test_packages_are_imported_from():
    (problem,) = Pipeline_problems({"imports": ["no_such_package:p.yaml"]})
    assert "there is no package 'no_such_package'; is it installed?" in problem
    found = Pipeline.from_dict({"imports": ["examples.isr:pipeline.yaml"]})
    assert "isr" in found


def Pipeline_problems(plain):
    with pytest.raises(PipelineError) as caught:
        Pipeline.from_dict(plain)
    return caught.value.problems


def test_loops_of_imports_are_named(write):
    write("a.yaml", "imports: [b.yaml]")
    write("b.yaml", "imports: [c.yaml]")
    path = write("c.yaml", "imports: [a.yaml]")
    (problem,) = problems_of(path)
    shown = problem.replace(f"{path.parent}/", "")
    assert shown == "b.yaml:1:11: imports form a loop: c.yaml -> a.yaml -> b.yaml -> c.yaml"


def test_imports_that_cannot_be_are_named_all_at_once(write):
    write("p.yaml", COMMON)
    write("bad.yaml", "tasks: {isr: {class: 'HERE:IsrTask', config: {levl: 2}}}")
    path = write("q.yaml", """\
        imports:
          - {location: p.yaml, exclude: [fames]}
          - {location: p.yaml, rename: {detct: x}}
          - none.yaml
          - bad.yaml
          - {locaton: p.yaml}
        tasks:
          isr: {config: {level: 1}}
        """)  # fmt: skip
    said = "\n".join(problems_of(path))
    for message in (
        "q.yaml:2:5: import of ",
        "the pipeline has no task or subset 'fames' (did you mean 'frames'?)",
        "there is no task 'detct' to rename (did you mean 'detect'?)",
        "cannot read",
        "bad.yaml:1:",
        "levl: IsrConfig has no such field (did you mean 'level'?)",
        "q.yaml:6:6: unknown key 'locaton' (did you mean 'location'?)",
        "q.yaml:6:5: 'location' is missing",
    ):
        assert message in said


def test_two_imports_that_disagree_are_refused(write):
    write("p.yaml", COMMON)
    write("o.yaml", "parameters: {threshold: 1.0}\ntasks: {isr: 'HERE:OtherIsrTask'}")
    said = "\n".join(problems_of(write("q.yaml", "imports: [p.yaml, o.yaml]")))
    assert "both have a task 'isr'" in said
    assert "both have a parameter 'threshold', and they differ" in said


# -- subsets, steps, contracts ---------------------------------------------------------------------


def test_a_part_of_a_file_is_loaded(write):
    path = write("p.yaml", COMMON)
    assert list(Pipeline.load(f"{path}#stars")) == ["detect"]
    assert list(Pipeline.load(f"{path}#isr,stars")) == ["isr", "detect"]
    assert Pipeline.load(f"{path}#frames").contracts == ()
    with pytest.raises(PipelineError, match=r"no task or subset 'star' \(did you mean 'stars'\?\)"):
        Pipeline.load(f"{path}#star")


def test_steps_are_held_against_the_order_of_tasks_and_units(write):
    pipeline = Pipeline.load(write("p.yaml", COMMON))
    pipeline.check(load_unit_model("imaging"))
    pipeline.set_steps(["stars", Step("frames", ("expsure",))])
    with pytest.raises(PipelineError) as caught:
        pipeline.check(load_unit_model("imaging"))
    assert list(caught.value.problems) == [
        "step 'frames': unit model 'imaging' has no unit 'expsure' (did you mean 'exposure'?)",
        "step 'stars' comes before 'frames', but 'detect' in it reads 'image', which 'isr' makes",
    ]
    with pytest.raises(PipelineError, match="no subset 'x'"):
        pipeline.set_steps(["x"])


def test_a_broken_contract_tells_its_message_and_what_set_the_values(write):
    path = write("p.yaml", COMMON)
    pipeline = Pipeline.load(path).applyConfigOverrides(["isr:level=8"])
    with pytest.raises(PipelineError) as caught:
        pipeline.check()
    (problem,) = caught.value.problems
    assert problem.replace(f"{path}", "p.yaml") == (
        "p.yaml:25:5: contract 'detect.threshold > isr.level' does not hold: what is clipped cannot be "
        "found (detect.threshold is 4.0, p.yaml:15:7, isr.level is 8.0, isr:level=8)"
    )


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("isr.level == 1", True),
        ("isr.image == detect.image", True),
        ("isr.image != 'image'", False),
        ("isr.fit.order in [1, 2] and not isr.level < 1", True),
        ("isr.level not in [1, 2]", False),
        ("isr.level + 2 * 2 == detect.threshold", True),
        ("-isr.level < 0 or isr.level / 0 > 1", True),
        ("isr.title == '' and (true or false)", True),
        ("isr.title in 'abc' and null == null", True),
        ("isr.orders == []", True),
        ("parameters.x >= 0.5e1", True),
        ("not parameters.x == '5'", True),
    ],
)
def test_contracts_are_a_language_of_their_own(expression, holds):
    pipeline = Pipeline().add_parameter("x", 5).add("isr", IsrTask).add("detect", DetectTask)
    pipeline.add_contract(expression)
    if holds:
        pipeline.check()
    else:
        with pytest.raises(PipelineError, match="does not hold"):
            pipeline.check()


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("isr.level = 1", "write == for equal"),
        ("isr.level ==", "it ends too early"),
        ("level == 1", "a field is label.level"),
        ("__import__('os').system('x')", "it cannot go on"),
    ],
)
def test_contracts_that_cannot_be_understood_point_at_the_character(expression, message):
    with pytest.raises(ExpressionError, match=message):
        Pipeline().add("isr", IsrTask).add_contract(expression)
    with pytest.raises(PipelineError, match=message):
        Pipeline.from_dict({"tasks": {}, "contracts": [expression]})


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("isr.levl == 1", r"isr.levl: IsrConfig has no field 'levl' \(did you mean 'level'\?\)"),
        ("is.level == 1", r"the pipeline has no task 'is' \(did you mean 'isr'\?\)"),
        ("isr.orders[0] == 1", "there is nothing at '0'"),
        ("isr.level < isr.title", "has no value: '<' not supported"),
        ("isr.level / 0 == 1", "has no value"),
        ("parameters.y == 1", "there is no parameter 'y'"),
    ],
)
def test_contracts_that_have_no_value_are_named_by_the_check(expression, message):
    pipeline = Pipeline().add("isr", IsrTask).add_contract(expression)
    with pytest.raises(PipelineError, match=message):
        pipeline.check()


def test_subsets_and_contracts_follow_the_tasks(write):
    pipeline = Pipeline.load(write("p.yaml", COMMON)).rename("detect", "find")
    assert pipeline.subsets["stars"].labels == ("find",)
    assert pipeline.contracts[0].expression == "find.threshold > isr.level"
    assert pipeline.set_parameters({"threshold": 6})["find"].config.threshold == 6.0
    pipeline.delete("find")
    assert (list(pipeline.subsets), pipeline.steps, pipeline.contracts) == (["frames"], (Step("frames"),), ())


def test_all_that_a_file_says_can_be_said_in_python(write):
    made = (
        Pipeline("Common")
        .add_parameter("threshold", 4.0)
        .add_parameter("name", "a survey", doc="Whose frames these are.")
        .add("isr", IsrTask, {"title": "frames of ${name} for $$5", "fit.order": 3})
        .add("detect", DetectTask, {"threshold": "$threshold"})
        .add_subset("frames", ["isr"])
        .add_subset("stars", ["detect"], "What is found.")
        .set_steps(["frames", Step("stars", ("exposure",))])
        .add_contract("detect.threshold > isr.level", "what is clipped cannot be found")
    )
    read = Pipeline.load(write("p.yaml", COMMON))
    assert made == read
    assert made._content() == read._content()
    merged = (
        Pipeline("Both").merge(made, exclude=["stars"]).merge(made, include=["stars"], rename={"detect": "d"})
    )
    assert list(merged) == ["isr", "d"]
    with pytest.raises(PipelineError, match="has no parameter 'q'"):
        made.add("x", IsrTask, {"level": "$q"})


# -- shape -----------------------------------------------------------------------------------------


def test_mistakes_of_shape_are_named_with_their_places(write):
    path = write("p.yaml", """\
        parameters: {a: {typ: int}, b: {type: quantity}}
        tasks:
          isr: {class: "HERE:IsrTask", config: {level: $nope}}
        subsets: {x: [isr, irs], isr: [isr], y: 3}
        steps: [z, {subset: x, unit: [a]}]
        contracts: [{message: x}, isr.level ==]
        """)  # fmt: skip
    found = problems_of(path)
    said = "\n".join(found)
    for message in (
        "p.yaml:1:18: unknown key 'typ' (did you mean 'type'?)",
        "p.yaml:1:29: parameter 'b': a quantity needs 'unit'",
        "$nope: the pipeline has no parameter 'nope'",
        "p.yaml:4:20: subset 'x': the pipeline has no task 'irs' (did you mean 'isr'?)",
        "p.yaml:4:26: 'isr' is the label of a task",
        "p.yaml:4:38: 'y' must be a list or a mapping, got 3",
        "p.yaml:5:9: the pipeline has no subset 'z'",
        "p.yaml:5:24: unknown key 'unit' (did you mean 'units'?)",
        "p.yaml:6:13: 'contract' is missing",
        "it ends too early",
    ):
        assert message in said


def test_the_schema_is_published():
    schema = json.loads((Path(__file__).parents[2] / "supertask/models/pipeline.schema.json").read_text())
    assert set(schema["properties"]) >= {"tasks", "parameters", "imports", "subsets", "steps", "contracts"}


# -- round trips -----------------------------------------------------------------------------------


def test_what_did_not_change_is_saved_as_it_was(write, tmp_path):
    path = write("p.yaml", COMMON)
    Pipeline.load(path).save(tmp_path / "q.yaml")
    assert (tmp_path / "q.yaml").read_text() == path.read_text()


def test_an_edit_in_python_keeps_comments_and_order(write, tmp_path):
    path = write("p.yaml", COMMON)
    pipeline = Pipeline.load(path)
    pipeline.set_parameters({"threshold": 4.5}).applyConfigOverrides(["isr:fit.order=4", "isr:level=2"])
    pipeline.add("again", IsrTask, {"image": "image2"})
    pipeline.save(tmp_path / "q.yaml")
    assert (tmp_path / "q.yaml").read_text() == path.read_text().replace("4.0  ", "4.5  ").replace(
        "order: 3      #", "order: 4      #"
    ).replace("# enough\n", "# enough\n      level: 2.0\n").replace(
        "$threshold\n", f"$threshold\n  again:\n    class: {HERE}:IsrTask\n    config:\n      image: image2\n"
    )
    assert Pipeline.load(tmp_path / "q.yaml") == pipeline


def test_a_list_on_one_line_stays_on_one_line(write):
    path = write("p.yaml", "tasks: {isr: {class: HERE:IsrTask, config: {orders: [1, 2]}}}  # so\n")
    pipeline = Pipeline.load(path).applyConfigOverrides(["isr:orders[0]=7", "isr:orders[1]=8"])
    pipeline.save(path)
    assert (
        path.read_text() == f"tasks: {{isr: {{class: {HERE}:IsrTask, config: {{orders: [7, 8]}}}}}}  # so\n"
    )


def test_imports_stay_imports_and_what_is_changed_stands_over_them(write, tmp_path):
    write("common/p.yaml", COMMON)
    path = write("q.yaml", "# mine\nimports:\n  - common/p.yaml  # theirs\n")
    pipeline = Pipeline.load(path).applyConfigOverrides(["isr:level=2"])
    (tmp_path / "out").mkdir()
    pipeline.save(tmp_path / "out" / "q.yaml")
    text = (tmp_path / "out" / "q.yaml").read_text()
    assert text.startswith("# mine\nimports:\n  - ../common/p.yaml")
    assert text.endswith("tasks:\n  isr:\n    config:\n      level: 2.0\n")
    assert Pipeline.load(tmp_path / "out" / "q.yaml") == pipeline
    pipeline.delete("detect").save(path)
    assert "exclude" in path.read_text()
    assert Pipeline.load(path) == pipeline


edits = st.lists(
    st.one_of(
        st.tuples(st.just("level"), st.sampled_from(["isr", "more"]), st.floats(0, 3.5)),
        st.tuples(st.just("title"), st.sampled_from(["isr", "more"]), st.text(max_size=8)),
        st.tuples(st.just("orders"), st.sampled_from(["isr", "more"]), st.lists(st.integers(), max_size=3)),
        st.tuples(st.just("fit.order"), st.sampled_from(["isr", "more"]), st.integers(0, 9)),
        st.tuples(st.just("parameter"), st.just(""), st.floats(4, 9)),
        st.tuples(st.just("delete"), st.sampled_from(["isr", "detect", "more"]), st.none()),
        st.tuples(st.just("rename"), st.sampled_from(["isr", "detect", "more"]), st.sampled_from(["a", "b"])),
        st.tuples(st.just("replace"), st.sampled_from(["isr"]), st.sampled_from([OtherIsrTask, DetectTask])),
        st.tuples(st.just("subset"), st.sampled_from(["isr", "detect", "more"]), st.sampled_from("xy")),
        st.tuples(st.just("description"), st.text(max_size=8), st.none()),
    ),
    max_size=6,
)


def applied(pipeline, changes):
    for what, label, value in changes:
        if what == "parameter":
            pipeline.set_parameters({"threshold": value})
        elif what == "description":
            pipeline.description = label
        elif label not in pipeline or (what == "rename" and value in pipeline):
            continue
        elif what == "delete":
            pipeline.delete(label)
        elif what == "rename":
            pipeline.rename(label, value)
        elif what == "replace":
            pipeline.replace(label, value)
        elif what == "subset":
            pipeline.add_subset(value, [label])
        elif what in pipeline[label].config.config_fields or what == "fit.order":
            config = pipeline[label].config
            if "level" in config.config_fields:
                pipeline.replace(label, config=config.replace(**{what: value}))
    return pipeline


@settings(deadline=None, max_examples=12)
@given(edits, st.booleans())
def test_whatever_is_edited_is_read_back(tmp_path_factory, changes, importing):
    folder = tmp_path_factory.mktemp("p")
    common = COMMON.replace("HERE", HERE)
    (folder / "p.yaml").write_text(common)
    extra = f"  more:\n    class: {HERE}:IsrTask\n    config: {{raw: image, image: image2}}  # twice\n"
    if importing:
        (folder / "q.yaml").write_text("imports:\n  - p.yaml\ntasks:\n" + extra)
    else:
        (folder / "q.yaml").write_text(common.replace("subsets:", extra + "subsets:"))
    pipeline = applied(Pipeline.load(folder / "q.yaml"), changes)
    pipeline.save(folder / "r.yaml")
    read = Pipeline.load(folder / "r.yaml")
    assert read == pipeline
    assert read._content() == pipeline._content()
    assert Pipeline.from_dict(json.loads(json.dumps(pipeline.to_dict()))) == pipeline


def test_parts_that_have_the_shape_keep_their_place_beside_those_that_have_not(write):
    path = write("p.yaml", """\
        tasks:
          isr: HERE:IsrTask
          7: HERE:IsrTask
        subsets:
          s: [[], isrr]
        contracts:
          - {contract: 7}
          - isr.level = 3
        """)  # fmt: skip
    problems = [p.partition("\n")[0] for p in problems_of(path)]
    assert [p.partition("p.yaml:")[2].split(": ")[0] for p in problems] == [
        "3:3",
        "5:7",
        "7:6",
        "5:11",
        "8:5",
    ]
    assert problems[0].endswith("the key 7 must be text: put it in quotes")
    assert "'contract' must be text, got 7" in problems[2]
    assert "no task 'isrr' (did you mean 'isr'?)" in problems[3]


def test_a_contract_nested_without_end_is_refused():
    with pytest.raises(ExpressionError, match="nested more than 200 deep"):
        Pipeline().add_contract("not " * 3000 + "true")
    Pipeline().add_contract("(" * 3000 + "1 == 1" + ")" * 3000)


def test_a_module_that_ends_the_program_is_named(write, tmp_path, monkeypatch):
    write("ending.py", "raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    (problem,) = problems_of(write("p.yaml", "tasks: {isr: 'ending:Task'}\n"))
    assert "module 'ending' raises SystemExit: 3" in problem
