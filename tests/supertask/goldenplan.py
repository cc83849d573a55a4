"""Identities as `golden` has them, of what needs numpy, astropy and the planner."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from astropy import units as u

from graphbuilder.builder import GraphBuilder
from supertask.butler.port import CollectionKind
from supertask.butler.repository import Butler
from supertask.configs.identities import canonical, digest
from supertask.pipelines.pipeline import Pipeline
from supertask.rows import FileRecord
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask
from tests.supertask.golden import SkyConfig, StackConfig


class SkyTask(SuperTask):
    ConfigClass = SkyConfig
    _DefaultName = "sky"
    version = "3"

    def run(self, raw):
        return Struct(sky=raw)


class StackTask(SuperTask):
    ConfigClass = StackConfig
    _DefaultName = "stack"
    former_names = ("old.module:Coadd",)

    def run(self, sky):
        return Struct(stack=sky)


def numbers():
    values = {
        "int8": np.int8(-3),
        "float32": np.float32(0.1),
        "float64": np.float64(0.1),
        "bool": np.bool_(True),
        "ints": np.arange(6, dtype=">i2").reshape(2, 3),
        "floats": np.array([0.0, -0.0, np.nan, np.inf]),
        "empty": np.empty((0, 3)),
        "texts": np.array(["a", "bc"]),
    }
    return {f"numpy: {name}": digest(canonical(value)).hex() for name, value in values.items()}


def quantities():
    values = {
        "length": 1.5 * u.km,
        "angle": 30 * u.arcmin,
        "flux": 3.631 * u.mJy,
        "counts": 7 * u.adu,
        "rate": 2.5 * u.electron / u.s,
        "array": [1, 2] * u.nm,
    }
    return {f"quantity: {name}": digest(canonical(value)).hex() for name, value in values.items()}


def plan():
    found = {}
    with tempfile.TemporaryDirectory() as folder, Butler.create(Path(folder) / "repo") as butler:
        raw = SkyTask().getDatasetClasses().inputs["raw"]
        butler.insert_units("instrument", [{"instrument": "C\u00e4m"}])
        butler.insert_units("detector", [{"instrument": "C\u00e4m", "detector": d} for d in range(2)])
        butler.insert_units("visit", [{"instrument": "C\u00e4m", "visit": v} for v in range(2)])
        butler.create_collection("raw", CollectionKind.RUN)
        records = [
            FileRecord(
                raw(instrument="C\u00e4m", visit=v, detector=d),
                f"raw/{v}{d}", 1, "", digest(b"raw", bytes([v, d])),
            )
            for v in range(2)
            for d in range(2)
        ]  # fmt: skip
        butler.register("raw", records)
        pipeline = Pipeline().add("sky", SkyTask, {"level": 2.0}).add("stack", StackTask)
        dag = GraphBuilder(pipeline, butler, "out", collections=["raw"]).makeGraph()
        for i in range(dag.n_quanta):
            record = dag.record(i)
            name = f"{record.label} {record.quantum.dataId}"
            found[f"quantum: {name}"] = record.identity.hex()
            for datasets in record.quantum.outputs.values():
                found |= {f"dataset: {d}": record.identities[d].hex() for d in datasets}
    return found


def everything():
    return {**numbers(), **quantities(), **plan()}
