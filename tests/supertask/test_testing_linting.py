from __future__ import annotations

import textwrap

import pytest

from supertask.classpath import load_class
from supertask.testing.linting import lint

HEAD = """
import time
from supertask import InputField, OutputField, Struct, SuperTask, SuperTaskConfig, field

class C(SuperTaskConfig):
    quantum_units = ("exposure",)
    image = InputField("exposure", "json", doc="Image.")
    mask = InputField("exposure", "json", doc="Mask.")
    stars = OutputField("exposure", "json", doc="Stars.")
    level: float = field(DEFAULT, doc="Level.")

class T(SuperTask):
    ConfigClass = C
    _DefaultName = "t"
"""


@pytest.fixture
def linted(tmp_path, monkeypatch):
    count = iter(range(99))

    def look(body, default="1.0"):
        name = f"linted_{abs(hash(tmp_path))}_{next(count)}"
        (tmp_path / f"{name}.py").write_text(
            HEAD.replace("DEFAULT", default) + textwrap.indent(textwrap.dedent(body), "    ")
        )
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        return lint(load_class(f"{name}:T"))

    return look


def test_a_task_in_order_has_no_findings(linted):
    assert linted("def run(self, image, mask):\n    return Struct(stars=image + mask)\n") == ()
    assert linted("def run(self, **inputs):\n    return Struct(**inputs)\n") == ()


def test_inputs_that_are_not_read_and_results_that_are_not_declared_are_found(linted):
    found = linted("def run(self, image, extra):\n    return Struct(galaxies=1)\n")
    assert found == (
        "input 'image' is declared and read from the repository, but run does not use it",
        "input 'mask' is declared, but run has no parameter of that name",
        "run has a parameter 'extra', which is no input field",
        "run returns 'galaxies', which is no output field, so it is not written",
        "output 'stars' is declared, but run never returns it",
    )


def test_a_task_that_changes_is_found(linted):
    found = linted(
        """
        def run(self, image, mask):
            self.count += 1
            self.seen.append(image)
            return Struct(stars=mask)
        """
    )
    assert [f.split(":")[0] for f in found] == ["run changes self.count", "run changes self.seen"]


def test_a_default_that_differs_from_one_process_to_the_next_is_found(linted):
    (found,) = linted("def run(self, image, mask):\n    return Struct(stars=image + mask)\n", "time.time()")
    assert found.startswith("its default configuration differs from one process to the next")
