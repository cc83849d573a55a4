"""Makes a capsule of one quantum of a run."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from executors.capsule.contents import MANIFEST, Manifest, Output, sums_of, zip_folder
from executors.decisions.work import Work
from executors.driving.opening import plan_identity
from executors.jobs.packing import Packer
from executors.journal.journal import Header
from executors.lineage.archive import Archive, Place
from executors.lineage.trace import Tracer
from executors.lineage.values import FileState, Provenance, QuantumNode, Use, iso
from executors.quanta.surroundings import SurroundingsSpec
from executors.quanta.taskset import outside_init_inputs
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.neighbours import maker_of, row_of
from graphbuilder.dag.subset import quanta_with
from supertask.butler.port import AbstractButler
from supertask.classpath import load_class
from supertask.errors import DatasetNotFoundError, ExecutionError, PreflightError, did_you_mean
from supertask.runtags import dataset_tags
from supertask.yamlfiles.text import dump

__all__ = ["find_quantum", "write_capsule"]

_OURS = {"supertask", "graphbuilder", "executors"}
_SCRIPTS = 400
"""Files of code that are taken along at most."""


def find_quantum(
    butler: AbstractButler, run: str, quantum: str, dataId: Mapping[str, Any] | None = None
) -> Place:
    """Return a quantum of a run.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    run : str
        RUN collection.
    quantum : str
        Label of its task, with a data ID; or the beginning of its identity in hexadecimal.
    dataId : Mapping, optional
        Unit names and key values.

    Raises
    ------
    ExecutionError
        There is no such run, or no plan of it is left.
    PreflightError
        There is no such quantum.
    """
    archive = Archive(butler.root, run)
    if not archive.exists:
        known = [c.name for c in butler.collection_infos() if Archive(butler.root, c.name).exists]
        raise ExecutionError(
            f"there is no run {run!r} that anything was executed into{did_you_mean(run, known)}; "
            f"there are {', '.join(known) or 'none'}"
        )
    if not archive.plans:
        raise ExecutionError("; ".join(archive.problems))
    for file, plan in archive.plans:
        if any(t.label == quantum for t in plan.tasks):
            return Place(plan, file, _one_of(plan, quantum, dataId or {}))
    if dataId:
        labels = dict.fromkeys(t.label for _, plan in archive.plans for t in plan.tasks)
        raise ExecutionError(
            f"run {run!r} has no task {quantum!r}{did_you_mean(quantum, labels)}; it has {', '.join(labels)}"
        )
    return archive.quantum(quantum)


def _one_of(plan: ScienceDag, label: str, dataId: Mapping[str, Any]) -> int:
    """Return the one quantum of a task that has these values of units, some of which may be left out."""
    node = plan.task(label)
    keep = quanta_with(plan, dataId) if dataId else np.ones(plan.n_quanta, bool)
    found = node.first + np.flatnonzero(keep[node.first : node.first + node.count])
    if len(found) == 1:
        return int(found[0])
    given = " ".join(f"{unit}={value}" for unit, value in dataId.items())
    if not len(found):
        raise PreflightError(
            f"the run has no quantum of {label!r} with {given}; it has {node.count:,} others, "
            f"such as {plan.quanta[node.first].dataId}"
        )
    raise PreflightError(
        f"the run has {len(found):,} quanta of {label!r}{f' with {given}' if given else ''}: say which, "
        f"such as {plan.quanta[int(found[0])].dataId}"
    )


def write_capsule(
    butler: AbstractButler,
    run: str,
    quantum: str,
    dataId: Mapping[str, Any] | None = None,
    /,
    *,
    to: str | Path,
    outputs: bool = False,
) -> Manifest:
    """Write all that one quantum takes to be run again elsewhere.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    run, quantum, dataId
        As for `find_quantum`.
    to : path
        A folder, or a file that ends in ``.zip``; must not be there.
    outputs : bool, optional
        Whether to take along what was made, to say how far something else differs from it.

    Raises
    ------
    ExecutionError
        There is no such quantum, an input that it read is gone, or the capsule cannot be written.
    """
    target = Path(to)
    if target.exists():
        raise ExecutionError(f"{target} is there already: give the capsule a name of its own")
    place = find_quantum(butler, run, quantum, dataId)
    tracer = Tracer(butler, check=True, logs=True)
    node = tracer.quantum(run, place)
    found = tracer.found
    _check_inputs(found, node)
    folder = Path(tempfile.mkdtemp(prefix=f".tmp-{target.name}-", dir=_parent(target)))
    try:
        manifest = _fill(folder / "capsule", butler, place, tracer, node, outputs=outputs)
        if target.suffix.lower() == ".zip":
            zip_folder(folder / "capsule", target)
        else:
            (folder / "capsule").rename(target)
    except OSError as error:
        raise ExecutionError(f"the capsule {target} cannot be written: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return manifest


def _parent(target: Path) -> Path:
    parent = target.absolute().parent
    if not parent.is_dir():
        raise ExecutionError(f"there is no folder {parent} to write a capsule in")
    return parent


def _check_inputs(found: Provenance, node: QuantumNode) -> None:
    gone = [
        found.datasets[i.dataset]
        for i in node.inputs
        if i.use in {Use.READ, Use.PLANNED} and found.datasets[i.dataset].state is FileState.GONE
    ]
    if gone:
        raise ExecutionError(
            f"{len(gone)} of the inputs of {node} are gone, such as {gone[0]} ({gone[0].path}): make them "
            "again (run the plan once more, with --retain keep if they were intermediates)"
        )


def _fill(
    folder: Path,
    butler: AbstractButler,
    place: Place,
    tracer: Tracer,
    node: QuantumNode,
    *,
    outputs: bool,
) -> Manifest:
    folder.mkdir()
    _pack(folder / "job", butler, place, tracer, node)
    found = tracer.found
    (folder / "config.yaml").write_text(dump(_plain(node.config)), "utf-8")
    (folder / "provenance.json").write_text(_json(found.to_dict()), "utf-8")
    (folder / "log.txt").write_text("".join(node.logs), "utf-8", errors="backslashreplace")
    _take_code(folder / "code", node.class_path)
    said = butler.run_provenance(node.run)
    sessions = said.get("sessions") or [{}]
    wanted = {"python", *said.get("plan", {}).get("versions", {})}
    packages = {**said.get("plan", {}).get("versions", {}), **sessions[-1].get("packages", {})}
    last = node.last
    manifest = Manifest(
        run=node.run,
        quantum=str(node),
        index=node.index,
        identity=node.identity,
        class_path=node.class_path,
        version=node.version,
        source=node.source,
        versions={name: str(packages[name]) for name in sorted(wanted) if name in packages},
        host=last.host if last is not None else "",
        made=iso(last.end) if last is not None else "",
        status=node.status.value,
        notes=tuple(_notes(found, node)),
        outputs=tuple(_outputs(folder, found, node, keep=outputs)),
    )
    (folder / "README.md").write_text(_readme(manifest), "utf-8")
    manifest = attrs.evolve(manifest, files=sums_of(folder))
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return manifest


def _pack(job: Path, butler: AbstractButler, place: Place, tracer: Tracer, node: QuantumNode) -> None:
    """Pack the quantum as a job, with files of its own."""
    plan = place.plan
    header = Header(
        run=node.run,
        plan=plan_identity(plan),
        quanta=plan.n_quanta,
        tasks=tuple((t.label, t.first, t.count) for t in plan.tasks),
        repository=plan.meta.repository,
        host="",
        pid=0,
        time=0,  # who packs it when is not what the capsule is of
    )
    labels = [t.label for t in plan.tasks]
    needed = plan.tasks[: labels.index(node.label) + 1]
    known = {c.name for c in butler.collection_infos()}
    searched = [c for c in (node.run, *plan.meta.collections) if c in known]
    init = []
    for dataset_type in outside_init_inputs(needed):
        try:
            location = butler.locate(dataset_type(), collections=searched).location
        except DatasetNotFoundError as error:
            raise ExecutionError(f"task {node.label!r} cannot be constructed elsewhere: {error}") from None
        init.append((dataset_type.name, dataset_type.storage, location))
    # Folders of quanta begin empty: nothing lies where the capsule is.
    around = SurroundingsSpec(root=str(job), run=node.run, tags={node.label: _tags(butler, place, node)})
    packer = Packer(
        plan=plan, datastore=tracer.homes.datastore, header=header, init_inputs=init, surroundings=around
    )
    work, missing = _work(place, tracer, node)
    packed = packer.pack(work, job, missing=missing)
    for file in (packed.path / "in").glob("*"):
        if file.stat().st_nlink > 1:  # what is done to the capsule must not be done to the repository
            copy = file.with_name(f".tmp-{file.name}")
            shutil.copyfile(file, copy)
            copy.replace(file)


def _tags(butler: AbstractButler, place: Place, node: QuantumNode) -> dict[str, Any]:
    """Return the tags that the run gave to the quantum's task."""
    outputs = place.plan.record(node.index).quantum.outputs
    name = next((t.name for t in outputs), "")
    return dataset_tags(butler, node.run, name)


def _work(place: Place, tracer: Tracer, node: QuantumNode) -> tuple[Work, dict[int, frozenset[bytes]]]:
    """Return what to run, and which outputs those before it left out: as it was then."""
    absent: dict[int, None] = {}
    lost: dict[int, None] = {}
    missing: dict[int, frozenset[bytes]] = {}
    for use in node.inputs:
        if use.use not in {Use.ABSENT, Use.FAILED}:
            continue
        dataset = tracer.handle(use.dataset)
        row = row_of(place.plan, dataset)
        maker = maker_of(place.plan, place.plan.dataset_type(dataset.name), row) if row is not None else None
        if maker is None:
            continue
        (lost if use.use is Use.FAILED else absent)[maker] = None
        identity = place.plan.record(maker).identity
        attempts = tracer.archive(node.run).attempts(identity)
        if attempts and attempts[-1][0].missing:
            missing[maker] = frozenset(attempts[-1][0].missing)
    q = place.row
    told = [{q: tuple(p)} if p else {} for p in (absent, lost)]
    return Work((q,), -1, *told), missing


def _notes(found: Provenance, node: QuantumNode) -> Iterable[str]:
    yield from node.caveats
    for use in node.inputs:
        dataset = found.datasets[use.dataset]
        if dataset.state is FileState.ALTERED:
            yield f"input {dataset} was altered since it was registered"


def _outputs(folder: Path, found: Provenance, node: QuantumNode, *, keep: bool) -> Iterable[Output]:
    for key in node.outputs:
        dataset = found.datasets[key]
        kept = ""
        if keep and dataset.state is not FileState.GONE:
            kept = f"outputs/{dataset.location.partition('#')[0]}"
            (folder / kept).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(dataset.path, folder / kept)
        yield Output(str(dataset), dataset.storage, dataset.location, dataset.size, dataset.checksum, kept)


def _take_code(folder: Path, class_path: str) -> None:
    """Copy the modules of a task that no installed distribution has."""
    cls = load_class(class_path)
    installed = metadata.packages_distributions()
    tops = {c.__module__.partition(".")[0] for c in cls.__mro__}
    for top in sorted(tops - _OURS - set(sys.stdlib_module_names)):
        if top in installed:
            continue
        module = sys.modules.get(top)
        file = getattr(module, "__file__", None)
        if file is None:
            continue
        source = Path(file)
        packaged = source.name == "__init__.py"
        files = sorted(source.parent.rglob("*.py")) if packaged else [source]
        base = source.parent.parent if packaged else source.parent
        for script in files[:_SCRIPTS]:
            copy = folder / script.relative_to(base)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(script, copy)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, default=str, ensure_ascii=False)


def _readme(manifest: Manifest) -> str:
    packages = [
        f"{name}=={v}" for name, v in manifest.versions.items() if name not in {"python", "supertask"}
    ]
    outputs = "\n".join(f"- `{o.dataset}`, {o.size} bytes, {o.checksum}" for o in manifest.outputs)
    ours = manifest.versions.get("supertask")
    first = " ".join(["pip install", f"'supertask=={ours}'" if ours else "supertask", *packages])
    when = f"It made, on {manifest.host} at {manifest.made}:" if manifest.made else "It had not run:"
    return f"""# {manifest.quantum}

One quantum of run `{manifest.run}`, with all that it takes to run it again: `{manifest.class_path}`, version
{manifest.version}, with Python {manifest.versions.get("python", "(unknown)")}.

    {first}
    supertask run-capsule .

The first line brings the versions that were used then, the second runs it in a folder of its own and says
whether what comes out is the same. A capsule holds code: run those of people whom you trust.

{when}

{outputs or "- nothing"}
"""
