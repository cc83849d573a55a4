"""Which quanta share overhead: those of one task whose keys are equal.

Where a task declares nothing, the key is everything but data IDs: its version and configuration (of its
variant) and all parameters of the quantum. Where it declares, it is what was declared: values of config
fields, of parameters, and overhead inputs. What is `meta` is in no key. Values are compared as they are
written in plans, so that 1, 1.0, True and "1" are four values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphbuilder.batching.codes import Codes, combined, edge_codes, ranked
from graphbuilder.batching.texts import Span, Texts
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.parameters import ParameterColumn, parameter_values
from graphbuilder.dag.values import TaskNode
from supertask.repograph.tables import QuantumTable
from supertask.tasks.overheads import OverheadNames

__all__ = ["overhead_keys"]


def overhead_keys(dag: ScienceDag) -> Codes:
    """Return numbers of the overheads of a task's quanta: equal where they are shared.

    Returns
    -------
    numpy.ndarray
        Shape (quanta,), int64: 0, 1, 2, … within each task.
    """
    keys = np.zeros(dag.n_quanta, np.int64)
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        keys[node.first : node.first + node.count] = _task_keys(node, table)
    return keys


def _task_keys(node: TaskNode, table: QuantumTable) -> Codes:
    names = node.overhead
    columns = []
    if table.variants is not None:
        columns.append(_variant_codes(node)[np.asarray(table.variants[:])])
    if table.parameters is not None and (names.parameters or not names.declared):
        columns.append(_parameter_codes(table.parameters, names))
    for dataset_type, edges in table.inputs.items():
        if dataset_type.name in names.inputs:
            # A dataset has one row in the table of its type, so that rows tell identities.
            columns.append(edge_codes(edges))
    return combined(columns, table.n)


def _variant_codes(node: TaskNode) -> Codes:
    """Return numbers of what variants have to share: shape (variants,)."""
    names = node.overhead
    if not names.declared:
        return _numbered([variant.key.hex() for variant in node.variants])  # meta fields are not in it
    said = [
        [v.class_path, v.version, [_value(v.config, path.split(".")) for path in names.config]]
        for v in node.variants
    ]
    return _numbered([json.dumps(each, sort_keys=True) for each in said])


def _value(config: Any, path: Sequence[str]) -> Any:
    """Return what a configuration, as plain data, has at a path; None where it has nothing there."""
    for name in path:
        if isinstance(config, dict) and name not in config:
            config = config.get("config")  # of a task that may be replaced
        config = config.get(name) if isinstance(config, dict) else None
    return config


def _numbered(texts: Sequence[str]) -> Codes:
    known: dict[str, int] = {}
    return np.fromiter((known.setdefault(t, len(known)) for t in texts), np.int64, len(texts))


def _parameter_codes(parameters: Sequence[Any], names: OverheadNames) -> Codes:
    """Return numbers of the parameters of quanta, of those of them that count."""
    if not isinstance(parameters, ParameterColumn):
        return _numbered([_canonical(parameter_values(p), names) for p in parameters])
    texts = Texts(parameters.strings)
    spans = _spans(texts, names)
    if spans is not None:
        return texts.codes(spans)
    # Distinct texts are read once each.
    codes = texts.codes([(texts.starts, texts.stops)])
    first = np.full(int(codes.max(initial=-1)) + 1, len(codes))
    np.minimum.at(first, codes, np.arange(len(codes)))
    said = (json.loads(parameters.strings[i]) for i in first.tolist())
    return ranked(_numbered([_canonical(each, names) for each in said])[codes])


def _spans(texts: Texts, names: OverheadNames) -> list[Span] | None:
    """Return what of the texts counts: equal there, byte by byte, are those of equal keys.

    None where that is not so: where they differ in form, or values are mappings, whose order means nothing.
    """
    if not len(texts):
        return None
    if texts.has(b"{", 2 * len(texts)):
        return None
    if names.declared:
        # The class stands first, and mostly is one.
        head = texts.heap[: int(texts.stops[0])].tobytes().partition(b', "values": ')[0]
        return _all_of(
            texts, names.parameters if texts.begin_alike(len(head)) else ("class", *names.parameters)
        )
    # All of them but for what is meta: what stands before, between and behind.
    left_out = _all_of(texts, names.meta)
    if left_out is None:
        return None
    cuts = sorted(left_out, key=lambda span: int(span[0][0]))
    spans, begin = [], texts.starts
    for starts, stops in cuts:
        if bool((starts < begin).any()):
            return None  # they stand in another order elsewhere
        spans.append((begin, starts))
        begin = stops
    return [*spans, (begin, texts.stops)]


def _all_of(texts: Texts, names: Iterable[str]) -> list[Span] | None:
    found = []
    for name in names:
        span = texts.fields(name)
        if span is None:
            return None
        found.append(span)
    return found


def _canonical(said: dict[str, Any] | None, names: OverheadNames) -> str:
    if said is None:
        return ""
    values = {
        name: value
        for name, value in said["values"].items()
        if (name in names.parameters if names.declared else name not in names.meta)
    }
    return json.dumps([said["class"], values], sort_keys=True)
