"""GraphBuilder: pipeline + repository + data-ID expression → Science DAG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import attrs
import numpy as np

from graphbuilder.comparing.restrict import labels_of, like_plan, narrow_like
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.identity import (
    Digests,
    FieldInput,
    dataset_identities,
    unit_digests,
)
from graphbuilder.dag.topology import Producers
from graphbuilder.dag.values import DagMeta, LeftOut, TaskNode, Trimmed, Variant
from graphbuilder.expressions.bindvalues import to_plain
from graphbuilder.loading.loading import load_repo_graph
from graphbuilder.loading.lookups import condition_for
from graphbuilder.loading.needs import Needs, fields_of, needs_of
from graphbuilder.loading.trimming import Gatherer, trimmed
from graphbuilder.provenance import describe
from graphbuilder.quiet import undisturbed
from graphbuilder.reasons.emptyplan import empty_plan
from graphbuilder.reuse.clobber import clobbering
from graphbuilder.reuse.planning import Reuse, reused
from graphbuilder.shards import Shard, narrow
from graphbuilder.tasks.checks import (
    check_enough,
    check_inputs_known,
    check_outputs,
    check_prerequisites,
    check_same_types,
    named,
)
from graphbuilder.tasks.taskkeys import check_names, with_source
from graphbuilder.tasks.taskoverheads import overhead_of
from graphbuilder.tasks.variantcontracts import check_contracts
from graphbuilder.tasks.variants import Overrides, identities_of
from supertask.butler.port import AbstractButler, Reader
from supertask.butler.templates import check_run_name
from supertask.classpath import class_path
from supertask.conditions import Condition
from supertask.configs.identities import identity_field, identity_path, task_key
from supertask.datasets import Dataset
from supertask.errors import PreflightError
from supertask.pipelines.pipeline import Pipeline, TaskDef
from supertask.repograph.absorb import absorb, without_unmade
from supertask.repograph.columns import Ints, group, lookup
from supertask.repograph.graph import RepoGraph
from supertask.repograph.grouped import GroupedQuanta
from supertask.repograph.holdings import Step
from supertask.repograph.tables import QuantumTable
from supertask.tasks.supertask import SuperTask

__all__ = ["GraphBuilder"]


@attrs.define(eq=False)
class _Plan:
    """A plan in the making."""

    repoGraph: RepoGraph
    steps: list[tuple[str, str, int]]
    overrides: Overrides
    nodes: list[TaskNode] = attrs.field(factory=list)
    quanta: list[QuantumTable] = attrs.field(factory=list)
    producers: dict[type[Dataset], Producers] = attrs.field(factory=dict)
    identities: list[Digests] = attrs.field(factory=list)
    left_out: list[LeftOut] = attrs.field(factory=list)
    units: dict[str, Digests] = attrs.field(factory=dict)
    """Digests of the instances of units, made where first asked for."""
    trimmed: tuple[Trimmed, ...] = ()

    @property
    def n(self) -> int:
        """Number of quanta so far."""
        return sum(node.count for node in self.nodes)


class GraphBuilder:
    """Makes complete plans.

    Parameters
    ----------
    pipeline : Pipeline
        What is to be done.
    butler : AbstractButler
        The data repository.
    output_run : str
        RUN collection that outputs will be written to.
    collections : sequence of str, optional
        Input collections in search order; the Butler's own search path unless given.
    identity : str, optional
        What stands for the code of tasks in identities: ``declared``, their version; ``source``, their source
        code too. What each class says in its `identity`, unless given.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        butler: AbstractButler,
        output_run: str,
        *,
        collections: Sequence[str] | None = None,
        identity: str | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.butler = butler
        self.output_run = output_run
        self.identity = identity
        self.collections = tuple(butler.collections if collections is None else collections)

    def makeGraph(
        self,
        where: str = "",
        *,
        bind: Mapping[str, Any] | None = None,
        shard: Shard | None = None,
        reuse: Reuse | None = None,
        tasks: Iterable[str] = (),
        like: ScienceDag | None = None,
        clobber: bool = False,
    ) -> ScienceDag:
        """Work out every quantum and dataset before anything runs.

        Parameters
        ----------
        where : str, optional
            Data-ID expression.
        bind : Mapping, optional
            Values for names such as ``:night`` in the expression.
        shard : Shard, optional
            Plan that part alone; see `graphbuilder.sharding`, which puts the parts together.
        reuse : Reuse, optional
            Leave out what earlier runs made already. The plan has no quanta if that is all; how much was
            reused, and why the rest must run, is in its `meta.reused`.
        tasks : iterable of str, optional
            Plan these alone, and read what the others make where it is: labels, subsets, or ranges such as
            ``..warp``, ``coadd..`` and ``isr..warp``; see `graphbuilder.comparing.restrict.labels_of`.
        like : ScienceDag, optional
            Plan the data IDs of this earlier plan alone.
        clobber : bool, optional
            Replace what the output run holds of what is planned, when the plan is run; see
            `graphbuilder.reuse.clobber`.

        Returns
        -------
        ScienceDag
            The plan.

        Raises
        ------
        PipelineError
            The pipeline is not consistent with itself or the repository's unit model.
        ExpressionError
            The expression cannot be understood.
        EmptyPlanError
            There is nothing to do; says which condition or step emptied the plan, and what would match.
        PreflightError
            Quanta cannot be worked out.
        """
        model = self.butler.model
        if not hasattr(where, "strip"):
            raise PreflightError(
                f"the expression must be text, got {where!r}: leave it out to plan everything"
            )
        if not len(self.pipeline):
            raise PreflightError("the pipeline has no tasks: add some before planning")
        wrong = check_run_name(self.output_run)
        if wrong:
            raise PreflightError(f"the output run {self.output_run!r} is no name for a collection: {wrong}")
        planned = [d.dataset_type for d in self.pipeline.dataset_types().values()] if where.strip() else ()
        condition = condition_for(
            where, self.butler, bind=bind, collections=self.collections, planned=planned
        )
        words = tuple(tasks)
        pipeline = self.pipeline.select(*labels_of(self.pipeline, words)) if words else self.pipeline.copy()
        pipeline.check(model)
        pipeline.sort()
        check_names(pipeline)
        overrides = Overrides(pipeline, model)
        known = self.butler.dataset_types()
        check_same_types(pipeline, model, known)
        needs = needs_of(pipeline, model)
        check_prerequisites(pipeline)
        check_inputs_known(pipeline, needs, known)
        reader = self.butler.reader(collections=self.collections or None, where=condition)
        with undisturbed(), ExitStack() as opened:
            opened.enter_context(reader)

            def wider(where: Condition | None) -> Reader:
                other = self.butler.reader(collections=self.collections or None, where=where)
                return opened.enter_context(other)

            if like is not None:
                narrow_like(reader, model, like)
            if shard is not None:
                narrow(reader, pipeline, model, needs, shard)
            repoGraph, steps = load_repo_graph(
                reader, model, needs, condition, open_reader=wider, narrowed=shard is not None
            )
            plan = _Plan(repoGraph, [("", s.what, s.count) for s in steps], overrides)
            for taskdef, task in zip(pipeline.values(), pipeline.makeTasks(self.butler), strict=True):
                self._define(plan, taskdef, task)
            check_contracts(pipeline, overrides.made, plan.quanta)
            if condition is not None:
                plan.trimmed = self._trimmed(plan, pipeline, needs, condition)
        if not plan.n:
            raise empty_plan(
                self.butler, plan.steps, where, condition,
                inputs=needs.inputs, certified=needs.calibrations, collections=self.collections,
                relations=needs.relations(model),
            )  # fmt: skip
        dag = self._finish(plan, pipeline, where, bind or {})
        if like is not None:
            dag = like_plan(dag, like)
        if reuse is not None:
            dag = reused(dag, self.butler, reuse, pipeline)
        return clobbering(dag, self.butler) if clobber else dag

    # -- one task -----------------------------------------------------------------------------

    def _define(self, plan: _Plan, taskdef: TaskDef, task: SuperTask) -> None:
        label, config = taskdef.label, taskdef.config
        with named(label, "defineQuanta"):
            defined = task.defineQuanta(plan.repoGraph)
        if defined is None:
            raise PreflightError(f"defineQuanta of {label!r} returned nothing: return the quanta")
        table = absorb(plan.repoGraph, label, defined, config.quantum_units)
        steps = defined.steps if isinstance(defined, GroupedQuanta) else ()
        table, variants, further = self._chosen(plan, taskdef, task, table)
        for step in (*steps, *further):
            plan.steps.append((label, step.what, step.count))
            if step.left_out is not None:
                plan.left_out.append(LeftOut(label, step.what, step.left_out))
        check_enough(taskdef, table)
        check_outputs(plan.repoGraph, taskdef, table)
        key = task_key(identity_path(taskdef.task_class), taskdef.task_class.version, config)
        node = TaskNode(
            label,
            class_path(taskdef.task_class),
            config.to_dict(),
            taskdef.task_class.version,
            key,
            tuple(config.quantum_units),
            plan.n,
            table.n,
            {f.dataset_type.name: f.minimum for f in fields_of(taskdef) if f.dataset_type in table.inputs},
            variants,
            overhead=overhead_of(taskdef),
        )
        node = with_source(node, taskdef, self.identity)
        inputs = self._field_inputs(plan, taskdef, table)
        plan.identities.append(identities_of(node, table, inputs, lambda unit: _digests_of(plan, unit)))
        for dataset_type, edges in table.outputs.items():
            plan.producers[dataset_type] = Producers(node.first, edges)
        plan.nodes.append(node)
        plan.quanta.append(table)
        plan.steps.append((label, "quanta planned", table.n))

    def _chosen(
        self, plan: _Plan, taskdef: TaskDef, task: SuperTask, table: QuantumTable
    ) -> tuple[QuantumTable, tuple[Variant, ...], tuple[Step, ...]]:
        """Leave out what overrides and the task itself leave out; the others get their variants."""
        chosen = plan.overrides.choose(taskdef, table)
        if chosen is not None and chosen.keep is not None:
            table = without_unmade(plan.repoGraph, table.take(chosen.keep))
        adjusted, further = self._adjusted(plan, taskdef, task, table)
        if chosen is None:
            return adjusted, (), further
        further = (*(Step(p.why, table.n, p.columns) for p in chosen.left_out), *further)
        if adjusted is not table:
            chosen = plan.overrides.choose(taskdef, adjusted) or chosen
        return attrs.evolve(adjusted, variants=chosen.column), chosen.variants, further

    def _adjusted(
        self, plan: _Plan, taskdef: TaskDef, task: SuperTask, table: QuantumTable
    ) -> tuple[QuantumTable, tuple[Step, ...]]:
        """Let the task look over its quanta; return what it leaves, and the steps it took."""
        if type(task).adjustQuanta is SuperTask.adjustQuanta:
            return table, ()
        label = taskdef.label
        with named(label, "adjustQuanta"):
            adjusted = task.adjustQuanta(GroupedQuanta(plan.repoGraph, table), plan.repoGraph)
        if not isinstance(adjusted, GroupedQuanta):
            raise PreflightError(
                f"adjustQuanta of {label!r} returned {type(adjusted).__name__}: return the quanta that it "
                "got, or what their methods made of them"
            )
        strange = lookup(group(table.key()).keys, adjusted.table.key()) < 0
        if strange.any() or len(group(adjusted.table.key()).keys) < adjusted.table.n:
            first = adjusted.table.quantum(int(np.argmax(strange)))
            raise PreflightError(f"adjustQuanta of {label!r} returned quanta that it did not get: {first}")
        return without_unmade(plan.repoGraph, attrs.evolve(adjusted.table, label=label)), adjusted.steps

    def _field_inputs(self, plan: _Plan, taskdef: TaskDef, table: QuantumTable) -> list[FieldInput]:
        config = taskdef.config
        attribute = {f.dataset_type: identity_field(config, f.attribute) for f in fields_of(taskdef)}
        return [
            FieldInput(attribute.get(t, t.name), edges, _Identities(plan, t))
            for t, edges in table.inputs.items()
        ]

    # -- after the last task ------------------------------------------------------------------

    def _trimmed(
        self, plan: _Plan, pipeline: Pipeline, needs: Needs, condition: Condition
    ) -> tuple[Trimmed, ...]:
        """Count what the expression took from inputs that quanta gather."""
        gatherers = [
            Gatherer(d.config.quantum_units, tuple(fields_of(d)), table)
            for d, table in zip(pipeline.values(), plan.quanta, strict=True)
        ]
        model = self.butler.model
        return trimmed(
            model, condition, gatherers, needs.relations(model), plan.repoGraph.datasets,
            lambda where: self.butler.reader(collections=self.collections or None, where=where),
        )  # fmt: skip

    def _finish(self, plan: _Plan, pipeline: Pipeline, where: str, bind: Mapping[str, Any]) -> ScienceDag:
        for node, table in zip(plan.nodes, plan.quanta, strict=True):
            if node.count and len(group(table.key()).keys) < table.n and table.parameters is None:
                raise PreflightError(
                    f"two quanta of {node.label!r} have one data ID: give the task more quantum units, or "
                    "the quanta parameters that tell them apart"
                )
        used = {t for table in plan.quanta for t in [*table.inputs, *table.outputs]}
        tables = {t: plan.repoGraph.datasets[t] for t in plan.repoGraph.datasets if t in used}
        meta = DagMeta(
            output_run=self.output_run,
            collections=self.collections,
            where=where,
            bind=to_plain(bind),
            steps=tuple(plan.steps),
            trimmed=plan.trimmed,
            **describe(self.butler, pipeline),
        )
        return ScienceDag(
            meta=meta,
            tasks=plan.nodes,
            quanta=plan.quanta,
            space=plan.repoGraph.space,
            tables=tables,
            producers=plan.producers,
            identities=np.concatenate(plan.identities),
            left_out=plan.left_out,
        )


class _Identities:
    """Identities of rows of a table, of what was there or of what earlier tasks make."""

    def __init__(self, plan: _Plan, dataset_type: type[Dataset]) -> None:
        self._table = plan.repoGraph.datasets[dataset_type]
        self._type = dataset_type
        self._producers = plan.producers.get(dataset_type)
        if self._producers is not None:
            first = self._producers.first
            # A producer without quanta has no datasets either: then any identities do.
            k = next((i for i, n in enumerate(plan.nodes) if n.first == first and n.count), 0)
            self._quanta = plan.identities[k]
            self._makers = self._producers.table(self._table.n) - first

    def __call__(self, rows: Ints) -> Digests:
        if self._producers is None:
            stored: Digests = self._table.identities[rows]
            return stored
        single = self._producers.edges.indptr is None
        return dataset_identities(
            self._type, self._quanta[self._makers[rows]], None if single else self._table, rows
        )


def _digests_of(plan: _Plan, unit: str) -> Digests:
    if unit not in plan.units:
        plan.units[unit] = unit_digests(plan.repoGraph.space, unit)
    return plan.units[unit]
