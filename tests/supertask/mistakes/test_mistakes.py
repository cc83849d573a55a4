"""Typical mistakes, and what is said of each: `messages.txt` is read by people, and compared whole.

``MISTAKES_WRITE=1 pytest tests/supertask/mistakes`` writes it anew; read what changed before it is committed.
"""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from supertask.errors import SuperTaskError
from supertask.pipelines.pipeline import Pipeline
from supertask.unitmodels import load_unit_model

MESSAGES = Path(__file__).parent / "messages.txt"
STEPS = """
from supertask import ConfigurableField, InputField, OutputField, SuperTask, SuperTaskConfig, field

class IsrConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(("exposure", "detector"), "fits_image", doc="Raw.")
    image = OutputField(("exposure", "detector"), "fits_image", doc="Reduced.")
    level: float = field(1.0, doc="Level.", unit="adu", min=0, max=10)
    method: str = field("mean", doc="Method.", choices=["mean", "median"])
    boxes: list[int] = field([1, 2], doc="Boxes.")

class IsrTask(SuperTask):
    ConfigClass = IsrConfig
    _DefaultName = "isr"

class FindConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    image = InputField(("exposure", "detector"), "fits_image", doc="Reduced.")
    stars = OutputField(("exposure", "detector"), "fits_table", doc="Stars.")
    must: int = field(doc="A number that has no default.")

class FindTask(SuperTask):
    ConfigClass = FindConfig
    _DefaultName = "find"
"""
ISR = "tasks:\n  isr: mistaken_steps:IsrTask\n"


def config(text):
    return f"tasks:\n  isr:\n    class: mistaken_steps:IsrTask\n    config: {{{text}}}\n"


def on_data(text):
    return f"tasks:\n  isr:\n    class: mistaken_steps:IsrTask\n    overrides:\n      - {text}\n"


FILES = {
    "no tasks": "description: nothing\n",
    "a list": "- isr\n",
    "not YAML": "tasks: {isr: [}\n",
    "a tab": "tasks:\n\tisr: x\n",
    "a key twice": ISR + "tasks: {}\n",
    "a misspelt section": "task:\n  isr: mistaken_steps:IsrTask\n",
    "a misspelt key of a task": "tasks:\n  isr: {clas: mistaken_steps:IsrTask}\n",
    "a misspelt class": "tasks:\n  isr: mistaken_steps:IsrTsk\n",
    "a misspelt module": "tasks:\n  isr: mistaken_stepz:IsrTask\n",
    "a class that is no task": "tasks:\n  isr: mistaken_steps:IsrConfig\n",
    "a label with a dot": "tasks:\n  isr.1: mistaken_steps:IsrTask\n",
    "a label that is taken": "tasks:\n  parameters: mistaken_steps:IsrTask\n",
    "a misspelt field": config("levl: 2"),
    "text for a number": config("level: high"),
    "a number in quotes": config("level: '2'"),
    "out of range": config("level: 11"),
    "no choice": config("method: avarage"),
    "a number for a list": config("boxes: 3"),
    "text in a list of numbers": config("boxes: [1, b]"),
    "an index too far": config("'boxes[7]': 1"),
    "a field of a number": config("level.sub: 1"),
    "a list for a config": "tasks:\n  isr:\n    class: mistaken_steps:IsrTask\n    config: [level]\n",
    "a required field": "tasks:\n  find: mistaken_steps:FindTask\n",
    "an unknown parameter": "parameters: {level: 2.0}\n" + config("level: $lvel"),
    "a parameter of another type": "parameters: {name: two}\n" + config("level: $name"),
    "a parameter without value": "parameters: {level: {type: float}}\n" + config("level: $level"),
    "a parameter of no type": "parameters: {level: {type: real, default: 1}}\n" + ISR,
    "an import that is not there": "imports: [common.yaml]\n",
    "an import of itself": "imports: [p.yaml]\n",
    "an import from no package": "imports: ['nowhere_at_all:p.yaml']\n",
    "a subset of a task that is not there": ISR + "subsets: {all: [isr, fnd]}\n",
    "a subset called like a task": ISR + "subsets: {isr: [isr]}\n",
    "a step that is no subset": ISR + "subsets: {all: [isr]}\nsteps: [al]\n",
    "a contract with one equals sign": ISR + "contracts: [isr.level = 2]\n",
    "a contract that ends early": ISR + "contracts: [isr.level ==]\n",
    "a contract on no label": ISR + "contracts: [level == 2]\n",
    "a contract on a task that is not there": ISR + "contracts: [irs.level == 2]\n",
    "a contract on a misspelt field": ISR + "contracts: [isr.levl == 2]\n",
    "a contract that is broken": ISR + "contracts: [{contract: isr.level == 2, message: levels are two}]\n",
    "a contract between text and number": ISR + "contracts: [isr.level < isr.method]\n",
    "two producers": ISR + "  again: mistaken_steps:IsrTask\n",
    "a task that reads what it writes": config("image: raw"),
    "an override without a condition": on_data("{config: {level: 2}}"),
    "an override that changes nothing": on_data("{when: {detector: 2}}"),
    "an override of a misspelt field for some data": on_data("{when: {detector: 2}, config: {levl: 2}}"),
    "an override out of range for some data": on_data("{when: {detector: 2}, config: {level: 11}}"),
    "an override to a misspelt class": on_data("{when: {detector: 2}, class: mistaken_steps:IsrTsk}"),
    "an override of a misspelt unit": on_data("{when: {detctor: 2}, config: {level: 2}}"),
    "an override by a unit that the quantum does not tell": on_data("{when: {patch: 2}, config: {level: 2}}"),
    "an override of a dataset type": on_data("{when: {detector: 2}, config: {image: flat}}"),
    "an override that drops and sets": on_data("{when: {detector: 2}, drop: true, config: {level: 2}}"),
}
OVERRIDES = {
    "an override without a task": "level=2",
    "an override of an unknown task": "irs:level=2",
    "an override without a value": "isr:level",
    "an override of a misspelt field": "isr:levl=2",
    "an override with text for a number": "isr:level=high",
    "an override of an unknown parameter": "parameters:levl=2",
    "an override of a misspelt field for some data on the command line": "isr{detector = 2}:levl=2",
}


def said(name, folder):
    path = folder / "p.yaml"
    path.write_text(FILES.get(name, ISR))
    try:
        Pipeline.load(path, [OVERRIDES[name]] if name in OVERRIDES else []).check(load_unit_model("imaging"))
    except SuperTaskError as error:
        return str(error).replace(f"{folder}/", "")
    return "nothing is said"


def messages():
    sections = MESSAGES.read_text(encoding="utf-8").split("\n## ")[1:] if MESSAGES.exists() else []
    return {head: body.strip() for head, _, body in (s.partition("\n\n") for s in sections)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mistaken_steps.py").write_text(STEPS)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [*FILES, *OVERRIDES])
def test_what_is_said_of_a_mistake_is_what_people_have_read(name, folder):
    if not os.environ.get("MISTAKES_WRITE"):
        assert textwrap.indent(said(name, folder), "    ").strip() == messages()[name]


@pytest.mark.skipif(not os.environ.get("MISTAKES_WRITE"), reason="only where the messages are written anew")
def test_write_messages(folder):
    words = ["# What is said of typical mistakes\n"]
    words += [
        f"\n## {name}\n\n{textwrap.indent(said(name, folder), '    ')}\n" for name in [*FILES, *OVERRIDES]
    ]
    MESSAGES.write_text("".join(words), encoding="utf-8")
