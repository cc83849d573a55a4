"""Identities that must be the same in every process, under every Python, on every machine.

A program: prints a JSON object, name → digest. What needs numpy, astropy or the planner is left out where
these cannot be imported, so that it runs in a Python that has nothing but attrs and PyYAML, too.
"""

from __future__ import annotations

import enum
import importlib.util
import json
import math
import sys
from pathlib import Path, PurePosixPath

from supertask.configs.config import Config, field
from supertask.configs.identities import canonical, digest, task_key
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.tasks.configurable import ConfigurableField
from supertask.tasks.task import Task

NEEDED = ("astropy", "h5py", "lark", "numpy", "ruamel", "shapely", "sqlalchemy")


class Colour(enum.Enum):
    RED = 1
    BLUE = "2"


class Level(enum.IntEnum):
    LOW = 1


class Bits(enum.Flag):
    SATURATED = 1
    COSMIC = 2


class ClipConfig(Config):
    sigma: float = field(3.0, doc="Sigma.")
    verbose: bool = field(False, doc="Talk.", meta=True)


class ClipTask(Task):
    ConfigClass = ClipConfig
    _DefaultName = "clip"


class SkyConfig(SuperTaskConfig):
    quantum_units = ("visit", "detector")
    raw = InputField(units=("visit", "detector"), storage="json", doc="Raw.")
    sky = OutputField(units=("visit", "detector"), storage="json", doc="Sky.")
    level: float = field(10.0, doc="Level.")
    names: list[str] = field(["a", "b"], doc="Names.")
    table: dict[str, float] = field({}, doc="Table.")
    colour: Colour = field(Colour.RED, doc="Colour.")
    clip: ClipConfig = field(doc="Clip.")
    find = ConfigurableField(ClipTask, doc="Find.")
    threads: int = field(1, doc="Threads.", meta=True)


class StackConfig(SuperTaskConfig):
    quantum_units = ("visit",)
    sky = InputField(units=("visit", "detector"), storage="json", doc="Sky.")
    stack = OutputField(units=("visit",), storage="json", doc="Stack.")
    kappa: float = field(3.0, doc="Renamed.")
    renamed_fields = {"sigma": "kappa"}


PLAIN = {
    "none": None,
    "true": True,
    "one": 1,
    "one as float": 1.0,
    "one as text": "1",
    "one as bytes": b"1",
    "large": 2**63,
    "larger, below nothing": -(2**200),
    "nothing with a sign": -0.0,
    "not a number": math.nan,
    "endless": -math.inf,
    "a tenth": 0.1,
    "subnormal": 5e-324,
    "composed": "\u00e9",
    "decomposed": "e\u0301",
    "beyond the plane": "\U0001f52d",
    "half a pair": "\ud83d",
    "list": [1, [2, [3, []]]],
    "dict": {"b": 1, "a": {2: None, "2": None, 2.5: None}},
    "set": {"q", "r", "s", 1, 2.5, None, ("t", 1)},
    "enum": Colour.RED,
    "enum of text": Colour.BLUE,
    "enum of int": Level.LOW,
    "flags": Bits.SATURATED | Bits.COSMIC,
    "path": Path("a/b c.fits"),
    "pure path": PurePosixPath("a/b c.fits"),
    "config": ClipConfig(sigma=2.5),
}


def plain():
    return {f"value: {name}": digest(canonical(value)).hex() for name, value in PLAIN.items()}


def tasks():
    keys = {
        "as it comes": task_key("pkg:Sky", "3", SkyConfig()),
        "changed": task_key(
            "pkg:Sky",
            "3",
            SkyConfig(level=2, table={"r": 1.0, "g": -0.0}, colour=Colour.BLUE, find={"sigma": 4}),
        ),
        "renamed field": task_key("pkg:Stack", "1", StackConfig(kappa=2.0)),
        "only meta changed": task_key("pkg:Sky", "3", SkyConfig(threads=8)),
    }
    return {f"task: {name}": key.hex() for name, key in keys.items()}


def everything():
    found = {**plain(), **tasks()}
    if all(importlib.util.find_spec(name) is not None for name in NEEDED):
        from tests.supertask import goldenplan

        found |= goldenplan.everything()
    return found


def main():
    said = {"python": ".".join(map(str, sys.version_info[:3])), "identities": everything()}
    print(json.dumps(said))
