"""A pipeline in the form of a diamond, and orders that make its quanta misbehave.

::

    raw ─ flatten ─┬─ stars ──┬─ merge ─ summary
                   └─ galaxies┘

`flatten`, `stars` and `galaxies` run for each visit and detector, `merge` for each visit, `summary` once.
An order is a file in the folder that the tasks are configured with: its name is the quantum's
(``stars-2-0``; ``stars-*`` for all), its text what to do: ``raise``, ``bad``, ``transient``, ``memory``,
``nothing``, ``caveat``, ``exit``, ``kill``, ``hang``, ``allocate <bytes>``, ``sleep <seconds>``; with
``<n> times`` before it, in the first n calls alone. What runs is noted in ``calls`` in the same folder.
"""

from __future__ import annotations

import fnmatch
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supertask.butler.port import DatasetSource
from supertask.configs.config import field
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.errors import BadInputError, NoWork, PartialOutputs, TransientError
from supertask.quanta import Quantum
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

__all__ = ["FlattenTask", "GalaxiesTask", "MergeTask", "StarsTask", "SummaryTask"]

_HANG = 60.0


class _OrderedConfig(SuperTaskConfig):
    orders: str = field("", doc="Folder of orders.", meta=True)


class _Ordered(SuperTask):
    """Does what it is ordered to, and then its work."""

    def runQuantum(self, quantum: Quantum, butler: DatasetSource) -> None:
        assert isinstance(self.config, _OrderedConfig)
        values = [str(_values(quantum)[u]) for u in self.config.quantum_units]
        name = "-".join([self.name, *values])
        order = self._order(name, Path(self.config.orders)) if self.config.orders else ""
        self.log.info("works on %s", name)
        self.metadata["order"] = order
        _obey(order)
        super().runQuantum(quantum, butler)
        if order == "caveat":
            raise PartialOutputs("half of it is cloudy")

    @staticmethod
    def _order(name: str, folder: Path) -> str:
        with (folder / "calls").open("a") as file:
            file.write(f"{name}\n")
        for each in sorted(folder.iterdir()):
            if each.name != "calls" and fnmatch.fnmatch(name, each.name):
                order = each.read_text()
                if " times " not in order:
                    return order
                count, _, order = order.partition(" times ")
                return order if (folder / "calls").read_text().split().count(name) <= int(count) else ""
        return ""


def _values(quantum: Quantum) -> Mapping[str, Any]:
    return {} if quantum.dataId is None else quantum.dataId


def _obey(order: str) -> None:
    verb, _, amount = order.partition(" ")
    match verb:
        case "raise":
            raise ValueError("the sky was cloudy")
        case "bad":
            raise BadInputError("the shutter did not open")
        case "transient":
            raise TransientError("the archive does not answer")
        case "memory":
            raise MemoryError
        case "nothing":
            raise NoWork("all pixels are bad")
        case "exit":
            sys.exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(_HANG)
        case "sleep":
            time.sleep(float(amount))
        case "allocate":
            held = bytearray(int(amount))
            held[::4096] = b"x" * len(held[::4096])
            time.sleep(1)


class FlattenConfig(_OrderedConfig):
    """Configuration of `FlattenTask`."""

    quantum_units = ("visit", "detector")
    raw = InputField(units=("visit", "detector"), storage="json", doc="Raw frame.")
    flat = OutputField(units=("visit", "detector"), storage="json", doc="Flattened frame.")


class FlattenTask(_Ordered):
    """Subtracts one."""

    ConfigClass = FlattenConfig
    _DefaultName = "flatten"

    def run(self, raw: Mapping[str, int]) -> Struct:
        """Flatten a frame."""
        return Struct(flat={"value": raw["value"] - 1})


class StarsConfig(_OrderedConfig):
    """Configuration of `StarsTask`."""

    quantum_units = ("visit", "detector")
    flat = InputField(units=("visit", "detector"), storage="json", doc="Flattened frame.")
    star_list = OutputField(units=("visit", "detector"), storage="json", doc="What is found.")


class StarsTask(_Ordered):
    """Finds as many stars as the frame's value says."""

    ConfigClass = StarsConfig
    _DefaultName = "stars"

    def run(self, flat: Mapping[str, int]) -> Struct:
        """Find stars."""
        return Struct(star_list={"found": flat["value"]})


class GalaxiesConfig(_OrderedConfig):
    """Configuration of `GalaxiesTask`."""

    quantum_units = ("visit", "detector")
    flat = InputField(units=("visit", "detector"), storage="json", doc="Flattened frame.")
    galaxy_list = OutputField(units=("visit", "detector"), storage="json", doc="What is found.")


class GalaxiesTask(_Ordered):
    """Finds twice as many galaxies."""

    ConfigClass = GalaxiesConfig
    _DefaultName = "galaxies"

    def run(self, flat: Mapping[str, int]) -> Struct:
        """Find galaxies."""
        return Struct(galaxy_list={"found": 2 * flat["value"]})


class MergeConfig(_OrderedConfig):
    """Configuration of `MergeTask`."""

    quantum_units = ("visit",)
    star_list = InputField(units=("visit", "detector"), storage="json", doc="Stars of all detectors.")
    galaxy_list = InputField(units=("visit", "detector"), storage="json", doc="Galaxies of all detectors.")
    merged = OutputField(units=("visit",), storage="json", doc="Everything of a visit.")


class MergeTask(_Ordered):
    """Adds up what both sides found."""

    ConfigClass = MergeConfig
    _DefaultName = "merge"

    def run(self, star_list: list[Mapping[str, int]], galaxy_list: list[Mapping[str, int]]) -> Struct:
        """Merge lists."""
        stars, galaxies = (sum(x["found"] for x in found) for found in (star_list, galaxy_list))
        lists = [len(star_list), len(galaxy_list)]
        return Struct(merged={"stars": stars, "galaxies": galaxies, "lists": lists})


class SummaryConfig(_OrderedConfig):
    """Configuration of `SummaryTask`."""

    quantum_units = ("instrument",)
    merged = InputField(units=("visit",), storage="json", doc="All visits.")
    summary = OutputField(units=("instrument",), storage="json", doc="The survey in a line.")


class SummaryTask(_Ordered):
    """Gathers all visits."""

    ConfigClass = SummaryConfig
    _DefaultName = "summary"

    def run(self, merged: list[Mapping[str, int]]) -> Struct:
        """Sum up."""
        return Struct(summary={"visits": len(merged), "stars": sum(m["stars"] for m in merged)})
