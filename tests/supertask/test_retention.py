"""How long datasets stay, as pipelines say it."""

from __future__ import annotations

import json

import pytest

from supertask.connections.fields import (
    InitInputField,
    InitOutputField,
    InputField,
    OutputField,
    SuperTaskConfig,
)
from supertask.errors import PipelineError
from supertask.pipelines.pipeline import Pipeline
from supertask.pipelines.retention import Retention, rule_for
from supertask.tasks.supertask import SuperTask

KEEP, UNTIL_USED, ON_FAILURE = Retention.KEEP, Retention.UNTIL_USED, Retention.ON_FAILURE
UNITS = ("exposure", "detector")


class IsrConfig(SuperTaskConfig):
    quantum_units = UNITS
    raw = InputField(UNITS, "fits_image", doc="Raw.")
    image = OutputField(UNITS, "fits_image", doc="Reduced.")
    mask = OutputField(UNITS, "fits_image", doc="Bad pixels.")
    schema = InitOutputField(storage="json", doc="Of stars.")


class IsrTask(SuperTask):
    ConfigClass = IsrConfig
    _DefaultName = "isr"


class FindConfig(SuperTaskConfig):
    quantum_units = UNITS
    image = InputField(UNITS, "fits_image", doc="Reduced.")
    mask = InputField(UNITS, "fits_image", doc="Bad pixels.")
    schema = InitInputField(storage="json", doc="Of stars.")
    stars = OutputField(UNITS, "fits_table", doc="Stars.")


class FindTask(SuperTask):
    ConfigClass = FindConfig
    _DefaultName = "find"


class LookConfig(SuperTaskConfig):
    quantum_units = UNITS
    image = InputField(UNITS, "fits_image", doc="Reduced.")
    look = OutputField(UNITS, "json", doc="How good it is.")


class LookTask(SuperTask):
    ConfigClass = LookConfig
    _DefaultName = "look"


TEXT = f"""\
tasks:
  isr: {__name__}:IsrTask
  find: {__name__}:FindTask
  look: {__name__}:LookTask
subsets:
  frames: [isr, look]
retention:
  image: until-used   # they are large
  "m?sk": on-failure
"""


@pytest.fixture
def write(tmp_path):
    def writing(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return writing


def pipeline():
    return Pipeline().add("isr", IsrTask).add("find", FindTask).add("look", LookTask)


def problems_of(made):
    with pytest.raises(PipelineError) as caught:
        made()
    return "\n".join(caught.value.problems or [str(caught.value)])


def test_a_file_says_it_and_so_does_python(write):
    read = Pipeline.load(write("p.yaml", TEXT))
    assert dict(read.retention) == {"image": UNTIL_USED, "m?sk": ON_FAILURE}
    made = pipeline().add_subset("frames", ["isr", "look"])
    assert made != read
    made.set_retention({"image": "keep"}).set_retention({"image": UNTIL_USED, "m?sk": "on-failure"})
    assert made == read
    read.check()
    assert Pipeline.from_dict(json.loads(json.dumps(read.to_dict()))) == read
    assert read.to_dict()["retention"] == {"image": "until-used", "m?sk": "on-failure"}


def test_mistakes_in_a_file_are_named_with_their_places(write):
    text = TEXT.replace("until-used ", "until-usde ").replace("on-failure", "3")
    said = problems_of(lambda: Pipeline.load(write("p.yaml", text)))
    assert (
        "p.yaml:8:3: retention of 'image': 'until-usde' is not one of keep, until-used, on-failure "
        "(did you mean 'until-used'?)" in said
    )
    assert "p.yaml:9:3: 'm?sk' must be text, got 3" in said


def test_names_are_held_against_what_the_pipeline_makes_and_reads(write):
    more = {
        "imge": "until-used",
        "raw": "on-failure",
        "stars": "until-used",
        "schema": "until-used",
        "look": "keep",
    }
    text = TEXT.replace("retention:\n", "retention:\n" + "".join(f"  {n}: {p}\n" for n, p in more.items()))
    said = problems_of(Pipeline.load(write("p.yaml", text)).check)
    assert "p.yaml:8:3: retention: the pipeline has no dataset type 'imge' (did you mean 'image'?)" in said
    assert "it both makes and reads image, mask" in said
    assert "p.yaml:9:3: retention: raw cannot be on-failure: no task makes it, so it is never deleted" in said
    assert "retention: stars cannot be until-used: no task reads it, so it is never deleted" in said
    assert "retention: schema cannot be until-used: tasks need it to be constructed" in said
    assert "look" not in said, "to keep is what is done anyway"
    with pytest.raises(PipelineError, match="'gone' is not one of keep, until-used, on-failure"):
        pipeline().set_retention({"image": "gone"})


def test_a_name_comes_before_patterns_and_the_last_pattern_before_others():
    rules = {"image": 1, "*": 2, "m*": 3}
    assert [rule_for(name, rules) for name in ("image", "mask", "stars")] == [1, 3, 2]
    assert rule_for("image", {"mask": 1}) is None
    made = pipeline().set_retention({"*": "until-used", "m*": "keep"}).set_retention({"*": "on-failure"})
    assert list(made.retention) == ["m*", "*"], "what is said last holds"


def test_what_a_task_outside_of_a_part_reads_is_kept_for_it(write):
    whole = Pipeline.load(write("p.yaml", TEXT))
    part = Pipeline.load(f"{write('p.yaml', TEXT)}#frames")
    assert dict(part.retention) == {"m?sk": ON_FAILURE, "image": KEEP}, "find reads images, too"
    assert dict(whole.select("isr", "find").retention) == {"image": KEEP, "m?sk": ON_FAILURE}
    assert dict(whole.select("find", "look").retention) == {"m?sk": ON_FAILURE}
    whole.rename("isr", "reduce").delete("look")
    whole.check()
    assert whole.retention["image"] is KEEP


def test_a_file_stands_over_its_imports_and_settles_what_they_disagree_on(write):
    write("p.yaml", TEXT)
    write("r.yaml", TEXT.replace("until-used", "on-failure"))
    over = Pipeline.load(write("q.yaml", "imports: [p.yaml]\nretention: {image: keep}\n"))
    assert dict(over.retention) == {"m?sk": ON_FAILURE, "image": KEEP}
    said = problems_of(lambda: Pipeline.load(write("q.yaml", "imports: [p.yaml, r.yaml]\n")))
    assert "q.yaml:1:19: " in said
    assert "both say how long image stays, until-used and on-failure: say here which it is" in said
    both = "imports: [p.yaml, r.yaml]\nretention: {image: until-used}\n"
    assert Pipeline.load(write("q.yaml", both)).retention["image"] is UNTIL_USED


def test_an_edit_keeps_remarks(write, tmp_path):
    path = write("p.yaml", TEXT)
    read = Pipeline.load(path).set_retention({"m?sk": "keep"})
    assert read.to_text() == TEXT.replace("on-failure", "keep")
    read.save(path)
    assert Pipeline.load(path) == read
    read.set_retention({"mask": "until-used"}).save(tmp_path / "q.yaml")
    assert Pipeline.load(tmp_path / "q.yaml") == read
