"""The plan file: one HDF5 file, written whole, sealed, and read in part.

Columns are compressed and carry checksums (`graphbuilder.dag.columnfile`), HDF5's own structures theirs
(file format 1.10), and a seal over all contents stands in the root. The file is written beside its place
and renamed into it, so a reader sees the old plan or the new one, never half of one. Nothing in it is
pickled; readers take no locks, so thousands may read at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import h5py
import numpy as np

from graphbuilder.dag.columnfile import ColumnReader, ColumnWriter
from graphbuilder.dag.columns import StringColumn
from graphbuilder.dag.parameters import ParameterColumn
from graphbuilder.dag.reused import Replaced, Reused
from graphbuilder.dag.topology import Producers
from graphbuilder.dag.values import Bundling, DagMeta, LeftOut, TaskNode, Trimmed, Variant
from supertask.datasets import Dataset
from supertask.errors import DagFileError, SuperTaskError
from supertask.repograph.columns import Edges
from supertask.repograph.space import UnitSpace, UnitTable
from supertask.repograph.tables import DatasetTable, QuantumTable
from supertask.rows import TextColumn
from supertask.tasks.overheads import OverheadNames
from supertask.unitmodels import unit_model_from_dict

if TYPE_CHECKING:
    from typing import Protocol

    class Plan(Protocol):
        """What is saved: the parts of a ScienceDag."""

        meta: DagMeta
        tasks: tuple[TaskNode, ...]
        quantum_tables: tuple[QuantumTable, ...]
        space: UnitSpace
        datasets: dict[type[Dataset], DatasetTable]
        producers: dict[type[Dataset], Producers]
        identities: Any
        bundlings: dict[str, Bundling]
        left_out: tuple[LeftOut, ...]


__all__ = ["FORMAT", "VERSION", "read", "save"]

FORMAT = "supertask-science-dag"
VERSION = 3
READABLE = (1, 2, 3)
"""1 had no variants of tasks; it is read as a plan that has none. Up to 2 every column was a dataset."""


def save(dag: Plan, path: Path) -> None:
    """Write a plan to its file, whole or not at all.

    Raises
    ------
    DagFileError
        The folder is missing or cannot be written to, the disk is full, or something stands at the path that
        is no file.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        # A rename would take the place of a device for everybody: root may even replace /dev/null.
        raise DagFileError(f"cannot write the plan to {path}: this is a device or pipe; give a file's name")
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    image = _image(dag)
    try:
        with temporary.open("xb") as file:
            file.write(image)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        why = "no such folder" if not path.parent.is_dir() else error.strerror or str(error)
        raise DagFileError(f"cannot write the plan to {path}: {why}; nothing was left behind") from error
    finally:
        # Where nothing can be written nothing can be removed either.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _image(dag: Plan) -> memoryview:
    """Return the bytes of the file. HDF5 makes them in memory, as it does not survive a full disk well."""
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v110", "v110")) as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        writer = ColumnWriter(file)
        _write(dag, writer)
        writer.finish()
    return image.getbuffer()


def _write(dag: Plan, writer: ColumnWriter) -> None:
    outline = {
        "meta": attrs.asdict(dag.meta),
        "units": {u: _write_units(writer, u, t) for u, t in dag.space.tables.items()},
        "datasets": [
            _write_datasets(writer, f"datasets/{i}", table, dag.producers.get(dataset_type))
            for i, (dataset_type, table) in enumerate(dag.datasets.items())
        ],
        "tasks": [
            _write_task(writer, f"tasks/{i}", node, table, list(dag.datasets))
            for i, (node, table) in enumerate(zip(dag.tasks, dag.quantum_tables, strict=True))
        ],
        "bundlings": list(dag.bundlings),
        "about_bundlings": [dict(bundling.about) for bundling in dag.bundlings.values()],
        "left_out": [
            {"label": part.label, "why": part.why, "columns": list(part.columns)} for part in dag.left_out
        ],
    }
    writer.column("identities", dag.identities)
    for i, part in enumerate(dag.left_out):
        for unit, codes in part.columns.items():
            writer.column(f"left_out/{i}/by_{unit}", codes)
    for i, bundling in enumerate(dag.bundlings.values()):
        writer.column(f"bundlings/{i}/ends", bundling.indptr)
        writer.column(f"bundlings/{i}/quanta", bundling.indices)
    writer.text("outline", outline)


def _write_units(writer: ColumnWriter, unit: str, table: UnitTable) -> dict[str, Any]:
    keys = np.asarray(table.keys)
    text = keys.dtype.kind not in "iu"
    if text:
        keys = np.array([str(key).encode() for key in keys.tolist()]) if len(keys) else np.empty(0, "S1")
    writer.column(f"units/{unit}/keys", keys)
    for link, codes in table.links.items():
        writer.column(f"units/{unit}/to_{link}", codes)
    return {"text": text, "links": list(table.links)}


def _write_datasets(
    writer: ColumnWriter, where: str, table: DatasetTable, producers: Producers | None
) -> dict[str, Any]:
    for unit, codes in table.columns.items():
        writer.column(f"{where}/by_{unit}", codes)
    if table.identities is not None:
        writer.column(f"{where}/identities", table.identities)
    if table.locations is not None:
        _write_strings(writer, f"{where}/location", _as_strings(table.locations))
    if table.sizes is not None:
        writer.column(f"{where}/sizes", table.sizes)
    makers = None if producers is None else producers.quanta
    if makers is not None:
        writer.column(f"{where}/producers", makers)
    return {
        "name": table.dataset_type.name,
        "units": list(table.dataset_type.units),
        "storage": table.dataset_type.storage,
        "doc": table.dataset_type.doc,
        "n": table.n,
        "columns": list(table.columns),
        "identities": table.identities is not None,
        "locations": table.locations is not None,
        "sizes": table.sizes is not None,
        "producers": makers is not None,
    }


def _write_task(
    writer: ColumnWriter, where: str, node: TaskNode, table: QuantumTable, types: list[type[Dataset]]
) -> dict[str, Any]:
    for unit, codes in table.columns.items():
        writer.column(f"{where}/by_{unit}", codes)
    if table.variants is not None:
        writer.column(f"{where}/variants", table.variants)
    if table.parameters is not None:
        _write_strings(writer, f"{where}/parameter", ParameterColumn.pack(table.parameters))
    sides: dict[str, list[Any]] = {"inputs": [], "outputs": []}
    for side, edges_of in (("inputs", table.inputs), ("outputs", table.outputs)):
        for dataset_type, edges in edges_of.items():
            i = types.index(dataset_type)
            sides[side].append([i, edges.indptr is not None, edges.rows is not None])
            if edges.indptr is not None:
                writer.column(f"{where}/{side}_{i}_ends", edges.indptr)
            if edges.rows is not None:
                writer.column(f"{where}/{side}_{i}_rows", edges.rows)
    return {
        **attrs.asdict(node, filter=lambda field, _: field.name != "variants"),
        "key": node.key.hex(),
        "variants": [variant.plain() for variant in node.variants],
        "varying": table.variants is not None,
        "columns": list(table.columns),
        "parameters": table.parameters is not None,
        **sides,
    }


def _write_strings(writer: ColumnWriter, where: str, strings: StringColumn) -> None:
    writer.column(f"{where}_ends", strings.ends)
    writer.column(f"{where}_heap", strings.heap)


def _as_strings(strings: StringColumn | TextColumn) -> StringColumn:
    return strings if isinstance(strings, StringColumn) else StringColumn(*strings.packed())


def read(path: Path, *, lazy: bool) -> dict[str, Any]:
    """Read the parts of a plan, as `ScienceDag` takes them.

    Parameters
    ----------
    path : Path
        The file.
    lazy : bool
        Leave large columns in the file, to be read where they are asked for.

    Raises
    ------
    DagFileError
        The file is missing, truncated, altered, of another version, or not a plan.
    """
    if not path.is_file():
        raise DagFileError(f"there is no plan file {path}")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        what = "is truncated" if "truncated" in str(error) else "is not a plan, or was altered"
        raise DagFileError(f"{path} {what}: make the plan again with preflight ({error})") from error
    try:
        _check_format(file)
        reader = ColumnReader(file, lazy=lazy)
        parts = _parts(reader)
        reader.check_seal("outline")
    except DagFileError as error:
        file.close()
        raise DagFileError(f"{path}: {error}") from error
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, zlib.error, SuperTaskError) as error:
        file.close()
        raise DagFileError(
            f"{path} was altered or is incomplete: make the plan again with preflight "
            f"({type(error).__name__}: {error})"
        ) from error
    if not lazy:
        file.close()
    return parts


def _check_format(file: h5py.File) -> None:
    if file.attrs.get("format") != FORMAT:
        raise DagFileError("it is an HDF5 file, but not a plan")
    version = int(file.attrs.get("version", 0))
    if version not in READABLE:
        newer = "newer" if version > VERSION else "older"
        known = " and ".join(map(str, READABLE))
        raise DagFileError(
            f"it is a plan of format version {version}, {newer} than this software reads ({known}); "
            f"{'update the software' if version > VERSION else 'make the plan again with preflight'}"
        )


def _parts(reader: ColumnReader) -> dict[str, Any]:
    outline = reader.text("outline")
    said = outline["meta"]
    meta = DagMeta(
        **{
            **said,
            "collections": tuple(said["collections"]),
            "steps": tuple((a, b, int(n)) for a, b, n in said["steps"]),
            "trimmed": tuple(
                Trimmed(**{**t, "conditions": tuple(t["conditions"])}) for t in said.get("trimmed", ())
            ),
            "reused": None if said.get("reused") is None else Reused.from_dict(said["reused"]),
            "replaces": None if said.get("replaces") is None else Replaced(**said["replaces"]),
        }
    )
    space = UnitSpace(unit_model_from_dict(meta.unit_model), {})
    for unit, said in outline["units"].items():
        keys = reader.column(f"units/{unit}/keys", text=said["text"])
        links = {u: reader.column(f"units/{unit}/to_{u}") for u in said["links"]}
        space.tables[unit] = UnitTable(unit, keys, links)
    tables: list[DatasetTable] = []
    explicit: dict[type[Dataset], Producers] = {}
    for i, said in enumerate(outline["datasets"]):
        tables.append(_datasets(reader, f"datasets/{i}", said, space))
        if said["producers"]:
            makers = reader.column(f"datasets/{i}/producers")
            explicit[tables[-1].dataset_type] = Producers(0, Edges(0), makers)
    nodes, quanta = [], []
    producers: dict[type[Dataset], Producers] = {}
    for i, said in enumerate(outline["tasks"]):
        node, table = _task(reader, f"tasks/{i}", said, tables, space)
        nodes.append(node)
        quanta.append(table)
        for dataset_type, edges in table.outputs.items():
            producers[dataset_type] = explicit.get(dataset_type, Producers(node.first, edges))
    identities = reader.column("identities")
    left_out = [
        LeftOut(s["label"], s["why"], {u: reader.column(f"left_out/{i}/by_{u}") for u in s["columns"]})
        for i, s in enumerate(outline["left_out"])
    ]
    bundlings = {}
    about = outline.get("about_bundlings") or [{}] * len(outline["bundlings"])
    for i, name in enumerate(outline["bundlings"]):
        ends, indices = reader.column(f"bundlings/{i}/ends"), reader.column(f"bundlings/{i}/quanta")
        bundlings[name] = Bundling(name, ends, indices, about[i])
    return {
        "meta": meta,
        "tasks": nodes,
        "quanta": quanta,
        "space": space,
        "tables": {t.dataset_type: t for t in tables},
        "producers": producers,
        "identities": identities,
        "bundlings": bundlings,
        "left_out": left_out,
    }


def _datasets(reader: ColumnReader, where: str, said: Mapping[str, Any], space: UnitSpace) -> DatasetTable:
    dataset_type = Dataset.subclass(said["name"], said["units"], said["storage"], said["doc"])
    columns = {u: reader.column(f"{where}/by_{u}") for u in said["columns"]}
    identities = reader.column(f"{where}/identities") if said["identities"] else None
    locations = _strings(reader, f"{where}/location") if said["locations"] else None
    sizes = reader.column(f"{where}/sizes") if said["sizes"] else None
    return DatasetTable(dataset_type, space, columns, said["n"], identities, locations, sizes)


def _task(
    reader: ColumnReader,
    where: str,
    said: dict[str, Any],
    tables: list[DatasetTable],
    space: UnitSpace,
) -> tuple[TaskNode, QuantumTable]:
    columns = {u: reader.column(f"{where}/by_{u}") for u in said["columns"]}
    parameters = None
    if said["parameters"]:
        parameters = ParameterColumn(_strings(reader, f"{where}/parameter"))
    variants = reader.column(f"{where}/variants") if said.get("varying") else None
    sides: dict[str, dict[type[Dataset], Edges]] = {}
    for side in ("inputs", "outputs"):
        sides[side] = {}
        for j, has_ends, has_rows in said[side]:
            ends = reader.column(f"{where}/{side}_{j}_ends") if has_ends else None
            rows = reader.column(f"{where}/{side}_{j}_rows") if has_rows else None
            sides[side][tables[j].dataset_type] = Edges(said["count"], ends, rows)
    node = TaskNode(
        label=said["label"],
        class_path=said["class_path"],
        config=said["config"],
        version=said["version"],
        key=bytes.fromhex(said["key"]),
        quantum_units=tuple(said["quantum_units"]),
        first=said["first"],
        count=said["count"],
        minimums=said["minimums"],
        variants=tuple(map(Variant.from_plain, said.get("variants", ()))),
        source=said.get("source", ""),
        overhead=_overhead(said.get("overhead", {})),
        by_source=said.get("by_source", False),
    )
    used = {tables[j].dataset_type: tables[j] for j, _, _ in [*said["inputs"], *said["outputs"]]}
    table = QuantumTable(
        node.label, space, columns, node.count, sides["inputs"], sides["outputs"], used, parameters, variants
    )
    return node, table


def _overhead(said: Mapping[str, Any]) -> OverheadNames:
    lists = {name: tuple(names) for name, names in said.items() if name != "declared"}
    return OverheadNames(**lists, declared=said.get("declared", False))


def _strings(reader: ColumnReader, where: str) -> StringColumn:
    return StringColumn(reader.column(f"{where}_ends"), reader.column(f"{where}_heap"))
