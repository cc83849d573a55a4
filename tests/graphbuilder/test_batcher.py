"""Bundles: every quantum once, limits kept, keys apart, and no cycle whatever is wished for."""

from __future__ import annotations

from typing import Any

import attrs
import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import layered

from graphbuilder.batcher import Cluster, QuantumBatcher
from graphbuilder.batching.codes import combined, edge_codes, ranked, text_codes
from graphbuilder.batching.keys import overhead_keys
from graphbuilder.batching.weights import ByFunction
from graphbuilder.dag.columns import StringColumn
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Bundling
from supertask.repograph.columns import Edges

CASES = settings(max_examples=150, deadline=None)


@attrs.frozen
class Fit:
    a: Any = 3
    order: Any = 5


@st.composite
def plans(draw: Any) -> ScienceDag:
    counts = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    firsts = np.concatenate([[0], np.cumsum(counts)]).tolist()
    waits = [
        [
            draw(st.sets(st.integers(0, firsts[k] - 1), max_size=3)) if firsts[k] else set()
            for _ in range(counts[k])
        ]
        for k in range(1, len(counts))
    ]
    parameters = [
        [Fit(draw(st.sampled_from([1, "1", 1.0, True]))) for _ in range(n)] if draw(st.booleans()) else None
        for n in counts
    ]
    variants = [draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)) for n in counts]
    keys = [[b"a" * 16, b"b" * 16]] * len(counts)
    return layered(counts, waits, parameters=parameters, variants=variants, keys=keys)


def quotient(dag: ScienceDag, bundling: Bundling) -> nx.DiGraph:
    """Return the graph of bundles, found edge by edge."""
    of = {q: b for b in range(len(bundling)) for q in bundling[b].tolist()}
    indptr, indices = dag.successors()
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from(range(len(bundling)))
    for q in range(dag.n_quanta):
        for c in indices[indptr[q] : indptr[q + 1]].tolist():
            if of[q] != of[c]:
                graph.add_edge(of[q], of[c])
    return graph


def check(dag: ScienceDag, bundling: Bundling) -> None:
    assert sorted(bundling.indices.tolist()) == list(range(dag.n_quanta))
    assert (np.diff(bundling.indptr) > 0).all()
    graph = quotient(dag, bundling)
    assert nx.is_directed_acyclic_graph(graph)
    assert all(a < b for a, b in graph.edges)  # the order of bundles respects dependencies
    for b in range(len(bundling)):
        assert (np.diff(bundling[b]) > 0).all() or not _depends(dag, bundling[b])


def _depends(dag: ScienceDag, quanta: np.ndarray) -> bool:
    place = {q: i for i, q in enumerate(quanta.tolist())}
    indptr, indices = dag.successors()
    return any(
        place.get(c, len(place)) < place[q]
        for q in place
        for c in indices[indptr[q] : indptr[q + 1]].tolist()
    )


def members(bundling: Bundling) -> list[list[int]]:
    return [bundling[b].tolist() for b in range(len(bundling))]


# -- properties --------------------------------------------------------------------------------


@CASES
@given(plans(), st.none() | st.integers(1, 5), st.none() | st.floats(0.5, 6), st.booleans(), st.data())
def test_bundles_hold_every_quantum_once_keep_limits_and_never_mix_keys(dag, most, cost, together, data):
    weights = data.draw(st.lists(st.floats(0, 3), min_size=dag.n_quanta, max_size=dag.n_quanta))
    models = {t.label: ByFunction(lambda table, t=t: weights[t.first : t.first + t.count]) for t in dag.tasks}
    batcher = QuantumBatcher(
        most, max_cost=cost, cost=models, locality=("visit",) if together else (), keep_together=together
    )
    bundling = batcher.bundles(dag)
    check(dag, bundling)
    keys = overhead_keys(dag)
    for bundle in members(bundling):
        assert len({(dag.task_of(q).label, keys[q]) for q in bundle}) == 1
        assert most is None or len(bundle) <= most
        assert cost is None or len(bundle) == 1 or sum(weights[q] for q in bundle) <= cost + 1e-6


@CASES
@given(
    plans(),
    st.integers(1, 6),
    st.sampled_from(["even", "largest-first"]),
    st.none() | st.integers(1, 5),
    st.data(),
)
def test_slots_are_filled_as_far_as_there_are_quanta(dag, slots, packing, most, data):
    weights = data.draw(st.lists(st.floats(0, 3), min_size=dag.n_quanta, max_size=dag.n_quanta))
    models = {t.label: ByFunction(lambda table, t=t: weights[t.first : t.first + t.count]) for t in dag.tasks}
    bundling = QuantumBatcher(most, slots=slots, packing=packing, cost=models).bundles(dag)
    check(dag, bundling)
    keys = overhead_keys(dag)
    for task in dag.tasks:
        own = [b for b in members(bundling) if dag.task_of(b[0]).label == task.label]
        assert len(own) >= min(slots, task.count)
        if most is None:
            assert len(own) <= max(slots, len(set(keys[task.first : task.first + task.count].tolist())))


@CASES
@given(plans(), st.data())
def test_whatever_clusters_are_wished_for_the_graph_of_bundles_has_no_cycle(dag, data):
    n = dag.n_quanta
    numbers = data.draw(st.lists(st.integers(-1, 4), min_size=n, max_size=n))
    finished = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    most = data.draw(st.none() | st.integers(1, 5))
    cluster = data.draw(
        st.sampled_from(
            [
                Cluster(function=lambda dag: np.array(numbers)),
                Cluster(shape="trees"),
                Cluster(shape="chains"),
                Cluster(by=("visit",)),
                Cluster(labels=("t0",), by=("visit",)),
            ]
        )
    )
    locality = data.draw(st.sampled_from([(), ("visit",)]))
    batcher = QuantumBatcher(most, clusters=[cluster], locality=locality)
    bundling = batcher.bundles(dag, finished=finished if data.draw(st.booleans()) else None)
    check(dag, bundling)
    assert most is None or max(map(len, members(bundling))) <= most


@CASES
@given(plans(), st.none() | st.integers(1, 5), st.data())
def test_bundles_of_what_is_missing_hold_nothing_finished(dag, most, data):
    finished = np.array(data.draw(st.lists(st.booleans(), min_size=dag.n_quanta, max_size=dag.n_quanta)))
    bundling = QuantumBatcher(most).bundles(dag, finished=finished)
    check(dag, bundling)
    assert all(len(set(finished[b].tolist())) == 1 for b in members(bundling))


@CASES
@given(st.lists(st.text(max_size=30), max_size=40))
def test_equal_texts_and_only_these_get_equal_codes(texts):
    codes = text_codes(StringColumn.from_strings(texts)).tolist()
    assert len(codes) == len(texts)
    for i, a in enumerate(texts):
        for j, b in enumerate(texts):
            assert (codes[i] == codes[j]) == (a == b)


@CASES
@given(st.lists(st.sets(st.integers(0, 9), max_size=4), min_size=1, max_size=30))
def test_equal_sets_of_inputs_and_only_these_get_equal_codes(sets):
    rows = np.array([r for s in sets for r in sorted(s)], np.int32)
    codes = edge_codes(Edges.from_counts(np.array([len(s) for s in sets]), rows)).tolist()
    assert [[a == b for b in codes] for a in codes] == [[a == b for b in sets] for a in sets]


@CASES
@given(st.lists(st.tuples(*[st.integers(-(2**62), 2**62)] * 3), min_size=1, max_size=30))
def test_codes_of_rows_keep_the_order_of_rows(rows):
    columns = [np.array(c) for c in zip(*rows, strict=True)]
    codes = combined(columns, len(rows)).tolist()
    assert [[a < b for b in codes] for a in codes] == [[a < b for b in rows] for a in rows]
    assert set(codes) == set(range(len(set(rows))))
    assert ranked(columns[0]).max() == len(set(columns[0].tolist())) - 1
