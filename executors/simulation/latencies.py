"""What frameworks add to the work of quanta: a few times, each measured on real runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from supertask.errors import ConfigError, Problems, did_you_mean

__all__ = ["LATENCIES", "Latencies", "known_latencies", "latencies_of"]

LATENCIES = Path(__file__).with_name("latencies.json")
"""What was measured by the developers; says when, and on what machine."""


@attrs.frozen(kw_only=True)
class Latencies:
    """What one framework adds, in seconds unless said otherwise."""

    framework: str
    startup: float = 0.0
    """From the call until the driver hands out its first job."""
    warmup: float = 0.0
    """From handing out the first job until slots are there, where they are started for the run."""
    per_job: float = 0.0
    """Of the driver alone, for each job that it hands out: packing, submitting."""
    delay: float = 0.0
    """From handing out a job until its first quantum begins, in a slot that has nothing to do."""
    between: float = 0.0
    """From the end of a job's last quantum until the first of the next begins, which waited, in its slot."""
    per_quantum: float = 0.0
    """Between two quanta of a job."""
    notice: float = 0.0
    """From the end of a quantum until the driver hears of it."""
    per_end: float = 0.0
    """Of the driver alone, for each quantum that ended: journal, decisions, registering."""
    ending: float = 0.0
    """From the last thing heard until the call returns."""
    chunk: int = 1
    """So many quanta are one job where the plan has no bundles."""
    keeps: bool = False
    """Whether a slot keeps what quanta share from one job to the next."""
    slots: int = 0
    """How many there can be at most; 0 for any number."""
    source: str = ""
    """When and where it was measured."""

    def __attrs_post_init__(self) -> None:
        problems = Problems(f"latencies of {self.framework}")
        for name in TIMES:
            value = getattr(self, name)
            if not (_is_number(value) and 0 <= value < math.inf):
                problems.add(f"{name} is a time in seconds of 0 or more, not {value!r}")
        for name, least in (("chunk", 1), ("slots", 0)):
            value = getattr(self, name)
            if not (_is_number(value) and value == int(value) >= least):
                problems.add(f"{name} is a whole number of {least} or more, not {value!r}")
        problems.raise_if_any(ConfigError)

    def replace(self, changes: Mapping[str, float]) -> Latencies:
        """Return the same with some times changed.

        Raises
        ------
        ConfigError
            There is no such time, or it is none.
        """
        problems = Problems(f"latencies of {self.framework}")
        for name in changes:
            if name not in TIMES:
                problems.add(f"there is no time {name!r}{did_you_mean(name, TIMES)}; there are "
                             f"{', '.join(TIMES)}")  # fmt: skip
        problems.raise_if_any(ConfigError)
        changed: dict[str, Any] = {name: float(value) for name, value in changes.items()}
        return attrs.evolve(self, **changed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TIMES = tuple(each.name for each in attrs.fields(Latencies) if each.type in {"float", float})
"""Names of the fields that are times."""


def known_latencies(path: str | Path = LATENCIES) -> dict[str, Latencies]:
    """Read a file of latencies: framework → what was measured.

    Raises
    ------
    ConfigError
        It cannot be read, or says what is no latency.
    """
    try:
        said = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"latencies cannot be read: {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from None
    if not isinstance(said, dict) or not isinstance(said.get("frameworks"), dict):
        raise ConfigError(f'{path} has no "frameworks": name of a framework → its times in seconds')
    names = [f.name for f in attrs.fields(Latencies) if f.name not in {"framework", "source"}]
    source = ", ".join(str(said[k]) for k in ("date", "machine") if said.get(k))
    problems = Problems(f"latencies in {path}")
    found = {}
    for framework, times in said["frameworks"].items():
        if not isinstance(times, dict):
            problems.add(f"{framework}: it says {times!r} in the place of times")
            continue
        unknown = [name for name in times if name not in names]
        for name in unknown:
            problems.add(f"{framework}: there is no {name!r}{did_you_mean(name, names)}")
        if not unknown:
            try:
                found[framework] = Latencies(framework=framework, source=source, **times)
            except ConfigError as error:
                problems.take(error, "")
    problems.raise_if_any(ConfigError)
    return found


def latencies_of(framework: str, path: str | Path = LATENCIES) -> Latencies:
    """Return what was measured of a framework.

    Raises
    ------
    ConfigError
        Nothing was.
    """
    known = known_latencies(path)
    if framework not in known:
        raise ConfigError(
            f"nothing was measured of framework {framework!r}{did_you_mean(framework, known)}; "
            f"{path} has {', '.join(known)}"
        )
    return known[framework]
