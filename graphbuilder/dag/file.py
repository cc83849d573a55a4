"""The plan file: one HDF5 file, written whole, sealed, and read in part.

Columns are chunked, compressed and carry a checksum for each chunk (Fletcher-32), HDF5's own
structures theirs (file format 1.10), and a seal over all contents stands in the root. The file is
written beside its place and renamed into it, so a reader sees the old plan or the new one, never
half of one. Nothing in it is pickled; readers take no locks, so thousands may read at once.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import h5py
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.columns import FileColumn, StringColumn
from graphbuilder.dag.parameters import ParameterColumn
from graphbuilder.dag.topology import Producers
from graphbuilder.dag.values import Bundling, DagMeta, TaskNode
from supertask.datasets import Dataset
from supertask.errors import DagFileError, SuperTaskError
from supertask.repograph.columns import Edges
from supertask.repograph.space import UnitSpace, UnitTable
from supertask.repograph.tables import DatasetTable, QuantumTable
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


__all__ = ["FORMAT", "VERSION", "read", "save"]

FORMAT = "supertask-science-dag"
VERSION = 1

_CHUNK = 1 << 14


class _Writer:
    """Writes columns and gathers their digests for the seal."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._seal = blake2b(digest_size=32)

    def column(self, name: str, values: Any) -> None:
        array = np.ascontiguousarray(values)
        _stamp(self._seal, name, array)
        if not array.size:
            self._file.create_dataset(name, data=array)
            return
        rows = min(len(array), _CHUNK if array.ndim == 1 else _CHUNK // 4)
        # Digests do not compress; trying costs more time than all else together.
        packing = {} if array.ndim == 2 else {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        self._file.create_dataset(
            name, data=array, chunks=(rows, *array.shape[1:]), fletcher32=True, **packing
        )

    def text(self, name: str, value: Any) -> None:
        self.column(name, np.frombuffer(json.dumps(value).encode(), np.uint8))

    def finish(self) -> None:
        self._file.attrs["seal"] = self._seal.hexdigest()


def _stamp(seal: Any, name: str, array: npt.NDArray[Any]) -> None:
    seal.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
    seal.update(array.view(np.uint8).data if array.size else b"")


def save(dag: Plan, path: Path) -> None:
    """Write a plan to its file, whole or not at all.

    Raises
    ------
    DagFileError
        The folder is missing or cannot be written to, or the disk is full.
    """
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
        temporary.unlink(missing_ok=True)


def _image(dag: Plan) -> bytes:
    """Return the bytes of the file. HDF5 makes them in memory, as it does not survive a full disk well."""
    with h5py.File(
        "plan", "w", driver="core", backing_store=False, block_size=1 << 20, libver=("v110", "v110")
    ) as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        writer = _Writer(file)
        _write(dag, writer)
        writer.finish()
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _write(dag: Plan, writer: _Writer) -> None:
    types = list(dag.datasets)
    number = {t: i for i, t in enumerate(types)}
    outline: dict[str, Any] = {
        "meta": attrs.asdict(dag.meta),
        "units": {},
        "datasets": [],
        "tasks": [],
        "bundlings": list(dag.bundlings),
    }
    for unit, table in dag.space.tables.items():
        keys = np.asarray(table.keys)
        text = keys.dtype.kind not in "iu"
        outline["units"][unit] = {"text": text, "links": list(table.links)}
        encoded = np.char.encode(keys.astype(str), "utf-8") if len(keys) else np.empty(0, "S1")
        writer.column(f"units/{unit}/keys", encoded if text else keys.astype(np.int64))
        for link, codes in table.links.items():
            writer.column(f"units/{unit}/to_{link}", codes)
    for i, (dataset_type, datasets) in enumerate(dag.datasets.items()):
        where = f"datasets/{i}"
        producers = dag.producers.get(dataset_type)
        explicit = producers is not None and producers.quanta is not None
        outline["datasets"].append(
            {
                "name": dataset_type.name,
                "units": list(dataset_type.units),
                "storage": dataset_type.storage,
                "doc": dataset_type.doc,
                "n": datasets.n,
                "columns": list(datasets.columns),
                "identities": datasets.identities is not None,
                "locations": datasets.locations is not None,
                "sizes": datasets.sizes is not None,
                "producers": explicit,
            }
        )
        for unit, codes in datasets.columns.items():
            writer.column(f"{where}/by_{unit}", codes)
        if datasets.identities is not None:
            writer.column(f"{where}/identities", datasets.identities)
        if datasets.locations is not None:
            strings = _as_strings(datasets.locations)
            writer.column(f"{where}/location_ends", strings.ends)
            writer.column(f"{where}/location_heap", strings.heap)
        if datasets.sizes is not None:
            writer.column(f"{where}/sizes", datasets.sizes)
        if explicit:
            assert producers is not None
            writer.column(f"{where}/producers", producers.quanta)
    for i, (node, quanta) in enumerate(zip(dag.tasks, dag.quantum_tables, strict=True)):
        where = f"tasks/{i}"
        description = attrs.asdict(node) | {"key": node.key.hex()}
        description["columns"] = list(quanta.columns)
        description["parameters"] = quanta.parameters is not None
        for unit, codes in quanta.columns.items():
            writer.column(f"{where}/by_{unit}", codes)
        if quanta.parameters is not None:
            strings = ParameterColumn.pack(quanta.parameters)
            writer.column(f"{where}/parameter_ends", strings.ends)
            writer.column(f"{where}/parameter_heap", strings.heap)
        for side, edges_of in (("inputs", quanta.inputs), ("outputs", quanta.outputs)):
            description[side] = []
            for dataset_type, edges in edges_of.items():
                j = number[dataset_type]
                description[side].append([j, edges.indptr is not None, edges.rows is not None])
                if edges.indptr is not None:
                    writer.column(f"{where}/{side}_{j}_ends", edges.indptr)
                if edges.rows is not None:
                    writer.column(f"{where}/{side}_{j}_rows", edges.rows)
        outline["tasks"].append(description)
    writer.column("identities", dag.identities)
    for i, bundling in enumerate(dag.bundlings.values()):
        writer.column(f"bundlings/{i}/ends", bundling.indptr)
        writer.column(f"bundlings/{i}/quanta", bundling.indices)
    writer.text("outline", outline)


def _as_strings(strings: Any) -> StringColumn:
    return strings if isinstance(strings, StringColumn) else StringColumn.from_strings(strings)


class _Reader:
    """Reads columns, whole and stamped or left in the file."""

    def __init__(self, file: h5py.File, *, lazy: bool) -> None:
        self._file = file
        self._lazy = lazy
        self._seal = None if lazy else blake2b(digest_size=32)

    def column(self, name: str, *, text: bool = False) -> Any:
        if self._lazy:
            return FileColumn(self._file, name, text=text)
        array = self._file[name][:]
        _stamp(self._seal, name, array)
        return np.char.decode(array, "utf-8").astype(object) if text else array

    def text(self, name: str) -> Any:
        return json.loads(self._file[name][:].tobytes())

    def check_seal(self) -> None:
        if self._seal is None:
            return
        _stamp(self._seal, "outline", self._file["outline"][:])
        if self._seal.hexdigest() != self._file.attrs.get("seal"):
            raise DagFileError("its contents do not match its seal: it was altered")


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
        reader = _Reader(file, lazy=lazy)
        parts = _parts(reader)
        reader.check_seal()
    except DagFileError as error:
        file.close()
        raise DagFileError(f"{path}: {error}") from error
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SuperTaskError) as error:
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
    if version != VERSION:
        newer = "newer" if version > VERSION else "older"
        raise DagFileError(
            f"it is a plan of format version {version}, {newer} than the {VERSION} that this software reads; "
            f"{'update the software' if version > VERSION else 'make the plan again with preflight'}"
        )


def _parts(reader: _Reader) -> dict[str, Any]:
    outline = reader.text("outline")
    said = outline["meta"]
    meta = DagMeta(
        **{
            **said,
            "collections": tuple(said["collections"]),
            "steps": tuple((a, b, int(n)) for a, b, n in said["steps"]),
        }
    )
    space = UnitSpace(unit_model_from_dict(meta.unit_model), {})
    for unit, said in outline["units"].items():
        keys = reader.column(f"units/{unit}/keys", text=said["text"])
        links = {u: reader.column(f"units/{unit}/to_{u}") for u in said["links"]}
        space.tables[unit] = UnitTable(unit, keys, links)
    tables: dict[type[Dataset], DatasetTable] = {}
    explicit: dict[type[Dataset], Producers] = {}
    types = []
    for i, said in enumerate(outline["datasets"]):
        dataset_type = Dataset.subclass(said["name"], said["units"], said["storage"], said["doc"])
        types.append(dataset_type)
        tables[dataset_type] = _datasets(reader, f"datasets/{i}", said, dataset_type, space)
        if said["producers"]:
            explicit[dataset_type] = Producers(0, Edges(0), reader.column(f"datasets/{i}/producers"))
    nodes, quanta = [], []
    producers: dict[type[Dataset], Producers] = {}
    for i, said in enumerate(outline["tasks"]):
        node, table = _task(reader, f"tasks/{i}", said, types, tables, space)
        nodes.append(node)
        quanta.append(table)
        for dataset_type, edges in table.outputs.items():
            producers[dataset_type] = explicit.get(dataset_type, Producers(node.first, edges))
    identities = reader.column("identities")
    bundlings = {}
    for i, name in enumerate(outline["bundlings"]):
        ends, indices = reader.column(f"bundlings/{i}/ends"), reader.column(f"bundlings/{i}/quanta")
        bundlings[name] = Bundling(name, ends, indices)
    return {
        "meta": meta,
        "tasks": nodes,
        "quanta": quanta,
        "space": space,
        "tables": tables,
        "producers": producers,
        "identities": identities,
        "bundlings": bundlings,
    }


def _datasets(
    reader: _Reader, where: str, said: Mapping[str, Any], dataset_type: type[Dataset], space: UnitSpace
) -> DatasetTable:
    columns = {u: reader.column(f"{where}/by_{u}") for u in said["columns"]}
    identities = reader.column(f"{where}/identities") if said["identities"] else None
    locations = None
    if said["locations"]:
        ends, heap = reader.column(f"{where}/location_ends"), reader.column(f"{where}/location_heap")
        locations = StringColumn(ends, heap)
    sizes = reader.column(f"{where}/sizes") if said["sizes"] else None
    return DatasetTable(dataset_type, space, columns, said["n"], identities, locations, sizes)


def _task(
    reader: _Reader,
    where: str,
    said: dict[str, Any],
    types: list[type[Dataset]],
    tables: Mapping[type[Dataset], DatasetTable],
    space: UnitSpace,
) -> tuple[TaskNode, QuantumTable]:
    columns = {u: reader.column(f"{where}/by_{u}") for u in said["columns"]}
    parameters = None
    if said["parameters"]:
        ends, heap = reader.column(f"{where}/parameter_ends"), reader.column(f"{where}/parameter_heap")
        parameters = ParameterColumn(StringColumn(ends, heap))
    sides: dict[str, dict[type[Dataset], Edges]] = {}
    for side in ("inputs", "outputs"):
        sides[side] = {}
        for j, has_ends, has_rows in said[side]:
            ends = reader.column(f"{where}/{side}_{j}_ends") if has_ends else None
            rows = reader.column(f"{where}/{side}_{j}_rows") if has_rows else None
            sides[side][types[j]] = Edges(said["count"], ends, rows)
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
    )
    used = {t: tables[t] for t in [*sides["inputs"], *sides["outputs"]]}
    table = QuantumTable(
        node.label, space, columns, node.count, sides["inputs"], sides["outputs"], used, parameters
    )
    return node, table
