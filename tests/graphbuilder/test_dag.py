"""The Science DAG as a graph, against networkx and plain Python."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from surveys import fill

from graphbuilder.batcher import QuantumBatcher
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.topology import levels, reachable, successors
from supertask.butler.memory import InMemoryButler
from supertask.butler.port import AbstractButler
from supertask.errors import PreflightError

Make = Callable[..., ScienceDag]


@pytest.fixture
def butler() -> AbstractButler:
    """The survey in memory: what is tested here is behind the Butler."""
    return fill(InMemoryButler("imaging"))


edges = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=40)


def csr(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    one = np.array([a for a, _ in pairs], np.int64)
    two = np.array([b for _, b in pairs], np.int64)
    return successors(12, [(one, two)])


@given(edges)
def test_successors_are_each_edge_once_and_in_order(pairs: list[tuple[int, int]]) -> None:
    indptr, indices = csr(pairs)
    for i in range(12):
        assert indices[indptr[i] : indptr[i + 1]].tolist() == sorted({b for a, b in pairs if a == i})


@given(edges)
def test_levels_are_longest_ways_and_cycles_are_told(pairs: list[tuple[int, int]]) -> None:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(12))
    graph.add_edges_from(pairs)
    found = levels(*csr(pairs))
    if nx.is_directed_acyclic_graph(graph):
        for depth, nodes in enumerate(nx.topological_generations(graph)):
            assert {found[n] for n in nodes} == {depth}
    else:
        cyclic = {n for c in nx.simple_cycles(graph) for n in c}
        assert all(found[n] == -1 for n in cyclic)


@given(edges, st.sets(st.integers(0, 11), min_size=1))
def test_what_can_be_reached(pairs: list[tuple[int, int]], start: set[int]) -> None:
    graph = nx.DiGraph(pairs)
    graph.add_nodes_from(range(12))
    expected = set(start).union(*(nx.descendants(graph, s) for s in start))
    assert set(np.flatnonzero(reachable(*csr(pairs), np.array(sorted(start)))).tolist()) == expected


def test_the_plan_is_a_bipartite_acyclic_graph(make: Make) -> None:
    dag = make()
    graph = dag.to_networkx()
    assert nx.is_directed_acyclic_graph(graph)
    sides = nx.get_node_attributes(graph, "bipartite")
    assert all(sides[a] != sides[b] for a, b in graph.edges)
    assert sum(side == 0 for side in sides.values()) == dag.n_quanta
    assert sum(side == 1 for side in sides.values()) == dag.n_datasets
    assert all(graph.in_degree(n) <= 1 for n, side in sides.items() if side == 1)
    for i, quantum in enumerate(dag.quanta):
        assert set(graph.predecessors(i)) == {d for side in quantum.inputs.values() for d in side}
        assert set(graph.successors(i)) == {d for side in quantum.outputs.values() for d in side}


def test_quantum_edges_follow_from_datasets(make: Make) -> None:
    dag = make()
    indptr, indices = dag.successors()
    made = {d: i for i, q in enumerate(dag.quanta) for side in q.outputs.values() for d in side}
    expected: list[set[int]] = [set() for _ in range(len(dag))]
    for i, quantum in enumerate(dag.quanta):
        for dataset in (d for side in quantum.inputs.values() for d in side if d in made):
            expected[made[dataset]].add(i)
    assert [set(indices[a:b].tolist()) for a, b in itertools.pairwise(indptr)] == expected
    waiting = [sum(i in after for after in expected) for i in range(len(dag))]
    assert dag.predecessor_counts().tolist() == waiting
    coadd = dag.find_quantum("coadd", skymap="sky", tract=0, patch=0, band="g")
    ancestors = nx.ancestors(dag.to_networkx(), coadd)
    assert set(dag.ancestors([coadd]).tolist()) == {n for n in ancestors if isinstance(n, int)}
    assert coadd in dag.descendants(dag.ancestors([coadd]).tolist())


def test_identities_of_datasets_lead_back_to_their_quantum(make: Make) -> None:
    dag = make()
    produced = {}
    for i in range(len(dag)):
        record = dag.record(i)
        for datasets in record.quantum.outputs.values():
            produced.update({d: record.identities[d] for d in datasets})
    for i in range(len(dag)):
        record = dag.record(i)
        for datasets in record.quantum.inputs.values():
            for dataset in datasets:
                assert record.identities[dataset] == produced.get(dataset, record.identities[dataset])
                assert (dataset in record.locations) == (dataset not in produced)
    assert len(set(produced.values())) == len(produced)


def test_records_in_a_group_are_those_one_by_one(make: Make) -> None:
    dag = make()
    order = list(range(len(dag)))[::-2]
    assert dag.records(order) == [dag.record(i) for i in order]


def test_a_subset_keeps_identities_and_turns_missing_producers_into_inputs(make: Make) -> None:
    dag = make()
    part = dag.subset(["coadd", "merge"])
    assert [t.label for t in part.tasks] == ["coadd", "merge"]
    for i in range(len(part)):
        record = part.record(i)
        old = dag.record(dag.find_identity(record.identity))
        assert record.quantum == old.quantum
        assert record.identities == old.identities
    assert len(part.subset(quanta=range(2))) == 2
    assert dag.subset(dataId={"visit": 1}).n_quanta == 6
    assert dag.subset(identities=[dag.record(3).identity]).record(0).quantum == dag.record(3).quantum
    assert part.predecessor_counts()[: part.tasks[0].count].sum() == 0


def test_what_is_not_in_the_plan_is_said(make: Make) -> None:
    dag = make()
    with pytest.raises(PreflightError, match="did you mean 'coadd'"):
        dag.task("coad")
    with pytest.raises(PreflightError, match="there is no quantum 99"):
        dag.record(99)
    with pytest.raises(PreflightError, match="no quantum of 'warp'"):
        dag.find_quantum("warp", instrument="Cam", visit=4, skymap="sky", tract=0, patch=0)
    with pytest.raises(PreflightError, match="no bundling 'x'"):
        dag.bundling("x")


@given(st.integers(1, 40))
def test_bundles_hold_each_quantum_once_and_depend_only_on_earlier_ones(size: int) -> None:
    dag = _DAG[0]
    bundling = QuantumBatcher(max_quanta=size).bundles(dag)
    assert np.sort(bundling.indices).tolist() == list(range(len(dag)))
    bundle_of = np.empty(len(dag), int)
    sizes: dict[str, list[int]] = {}
    for k in range(len(bundling)):
        members = bundling[k]
        bundle_of[members] = k
        labels = {dag.task_of(int(i)).label for i in members}
        assert len(labels) == 1
        sizes.setdefault(labels.pop(), []).append(len(members))
    assert all(max(s) <= size and max(s) - min(s) <= 1 for s in sizes.values())
    indptr, indices = dag.successors()
    for i in range(len(dag)):
        assert all(bundle_of[j] > bundle_of[i] for j in indices[indptr[i] : indptr[i + 1]])


_DAG: list[ScienceDag] = []


@pytest.fixture(autouse=True)
def _plan(make: Make) -> None:
    _DAG[:] = [make()]


def test_a_bundle_size_must_be_positive() -> None:
    with pytest.raises(PreflightError, match="positive"):
        QuantumBatcher(max_quanta=0)
