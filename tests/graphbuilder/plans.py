"""Plans made of nothing but who waits for whom, for tests of batching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.topology import Producers
from graphbuilder.dag.values import DagMeta, TaskNode, Variant
from supertask.datasets import Dataset
from supertask.repograph.columns import Edges
from supertask.repograph.space import UnitSpace, UnitTable
from supertask.repograph.tables import DatasetTable, QuantumTable
from supertask.tasks.overheads import NOTHING_DECLARED, OverheadNames
from supertask.unitmodels import load_unit_model, unit_model_to_dict


def layered(
    counts: Sequence[int],
    waits: Sequence[Sequence[Sequence[int]]],
    *,
    parameters: Sequence[Sequence[Any] | None] | None = None,
    variants: Sequence[Any] | None = None,
    keys: Sequence[Sequence[bytes]] | None = None,
    overhead: OverheadNames = NOTHING_DECLARED,
    sizes: Sequence[int] | None = None,
) -> ScienceDag:
    """Return a plan of tasks ``t0``, ``t1``, … of so many quanta each, by visit.

    Quantum i of a task k > 0 waits for the quanta ``waits[k - 1][i]`` of all tasks before, numbered through.
    """
    total = sum(counts)
    model = load_unit_model("imaging")
    space = UnitSpace(
        model,
        {
            "instrument": UnitTable("instrument", np.array(["Cam"], object), {}),
            "visit": UnitTable(
                "visit", np.arange(max(counts)), {"instrument": np.zeros(max(counts), np.int32)}
            ),
        },
    )
    types = [Dataset.subclass(f"d{k}", ("visit",), "json") for k in range(len(counts))]
    raw = Dataset.subclass("raw", ("visit",), "json")
    tables, nodes, quanta, producers = {}, [], [], {}
    firsts = np.concatenate([[0], np.cumsum(counts)]).tolist()
    for k, count in enumerate(counts):
        codes = np.arange(count, dtype=np.int32)
        tables[types[k]] = DatasetTable(types[k], space, {"visit": codes}, count)
        producers[types[k]] = Producers(firsts[k], Edges(count))
        inputs = {}
        if k == 0 and sizes is not None:
            tables[raw] = DatasetTable(
                raw,
                space,
                {"visit": codes},
                count,
                np.zeros((count, 16), np.uint8),
                [""] * count,
                np.array(sizes),
            )
            inputs[raw] = Edges(count)
        for j in range(k):
            mine = [
                sorted({p - firsts[j] for p in waits[k - 1][i] if firsts[j] <= p < firsts[j + 1]})
                for i in range(count)
            ]
            if any(mine):
                inputs[types[j]] = Edges.from_counts(
                    np.array([len(m) for m in mine]), np.array([p for m in mine for p in m], np.int32)
                )
        variant = None if variants is None or variants[k] is None else np.asarray(variants[k], np.uint8)
        nodes.append(
            TaskNode(
                f"t{k}", "tests:Task", {}, "1", bytes(16), ("visit",), firsts[k], count,
                variants=tuple(Variant("tests:Task", {}, "1", key) for key in keys[k]) if keys else (),
                overhead=overhead,
            )
        )  # fmt: skip
        quanta.append(
            QuantumTable(
                f"t{k}", space, {"visit": codes}, count, inputs, {types[k]: Edges(count)}, dict(tables),
                None if parameters is None else parameters[k], variant,
            )
        )  # fmt: skip
    return ScienceDag(
        meta=DagMeta("u/test/run", "0", "", unit_model=unit_model_to_dict(model)),
        tasks=nodes, quanta=quanta, space=space, tables=tables,
        producers=producers, identities=np.zeros((total, 16), np.uint8),
    )  # fmt: skip
