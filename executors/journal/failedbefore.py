"""Which quanta failed in a run, whatever plans it ran: known by task and data ID.

A quantum whose task was mended since is of another identity, and the indices of one plan mean nothing in
another. So the journal is read line by line; only lines of failures are decoded.
"""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt

from executors.journal.journal import Header, decode_attempt, unseal
from executors.journal.runfolder import RunFolder
from graphbuilder.dag.dag import ScienceDag

__all__ = ["failed_in", "failed_quanta"]

Key = tuple[tuple[str, int | str], ...]

_END = b'{"event":"end","quantum":"'
_FAILED = b'"status":"failed"'


def failed_in(folder: RunFolder) -> dict[str, set[Key]]:
    """Return label → sorted data IDs of what failed in its last attempt.

    Raises
    ------
    ExecutionError
        A newer version of this software wrote the journal.
    """
    last: dict[bytes, tuple[str, Key]] = {}
    for path in sorted(folder.journal.glob("*.jsonl")):
        with path.open("rb", buffering=1 << 20) as file:
            first = unseal(file.readline())
            if first is None:
                continue
            header = Header.from_line(json.loads(first))
            for line in file:
                begin = 9 + len(_END)
                if line[9:begin] != _END:
                    continue
                identity = line[begin : begin + 32]
                if _FAILED not in line:
                    last.pop(identity, None)
                    continue
                body = unseal(line)
                if body is not None:
                    attempt = decode_attempt(json.loads(body), header)
                    last[identity] = attempt.label, tuple(sorted((attempt.dataId or {}).items()))
    found: dict[str, set[Key]] = {}
    for label, key in last.values():
        found.setdefault(label, set()).add(key)
    return found


def failed_quanta(folder: RunFolder, dag: ScienceDag) -> npt.NDArray[np.bool_]:
    """Return which quanta of a plan failed last in a run, shape (n,)."""
    wanted = failed_in(folder)
    found = np.zeros(dag.n_quanta, bool)
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        keys = wanted.get(node.label)
        if keys:
            for row, dataId in enumerate(table.data_ids()):
                found[node.first + row] = tuple(sorted(dataId.items())) in keys
    return found
