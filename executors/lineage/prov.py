"""Provenance as a W3C PROV document, with the words of the IVOA's provenance data model beside.

Datasets are entities, quanta activities, the configuration of each task a plan, who ran it and the software
agents. Attributes in the namespace ``voprov`` are those of the IVOA Provenance Data Model 1.0; what neither
has a word for is in the namespace ``supertask``.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executors.lineage.values import DatasetNode, Provenance, QuantumNode, RunNode, Use
from supertask.canonical import canonical, digest
from supertask.errors import ConfigError, ExecutionError

if TYPE_CHECKING:
    from prov.model import ProvDocument

__all__ = ["to_prov", "write_prov"]

_SUPERTASK = "https://supertask.readthedocs.io/ns/provenance#"
_VOPROV = "http://www.ivoa.net/documents/ProvenanceDM/voprov/"
_FORMATS = {".json": "json", ".xml": "xml", ".ttl": "rdf", ".provn": "provn"}


def to_prov(found: Provenance) -> ProvDocument:
    """Return a PROV document.

    Raises
    ------
    ExecutionError
        The library ``prov`` is not installed.
    """
    try:
        from prov.model import ProvDocument
    except ImportError:
        raise ExecutionError(
            "PROV documents need the library prov: install it with pip install 'supertask[prov]'"
        ) from None
    document = ProvDocument()
    document.add_namespace("supertask", _SUPERTASK)
    document.add_namespace("voprov", _VOPROV)
    for prefix in ("dataset", "quantum", "run", "config", "user", "software"):
        document.add_namespace(prefix, f"{_SUPERTASK}{prefix}/")
    for dataset in found.datasets.values():
        _entity(document, dataset)
    for run in found.runs.values():
        _run(document, run)
    for quantum in found.quanta.values():
        _activity(document, found, quantum)
    return document


def write_prov(found: Provenance, path: Path) -> None:
    """Write a PROV document: JSON, or as the ending of the file says.

    Raises
    ------
    ExecutionError
        The library ``prov`` is not installed, or cannot write that form here.
    ConfigError
        The ending is of no form that is known.
    """
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"{path}: give a file that ends in {', '.join(_FORMATS)}")
    document = to_prov(found)
    from prov import Error

    try:
        text = document.get_provn() if kind == "provn" else document.serialize(format=kind, indent=1)
    except Error as error:  # a library that only that form needs is not installed
        raise ExecutionError(
            f"{path}: prov cannot write {kind} here: {error}; JSON needs nothing more"
        ) from None
    path.write_text(str(text), encoding="utf-8")


def _clean(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value not in ("", None)}


def _name(prefix: str, text: str) -> str:
    """Return a qualified name: what stands in it is kept to what every form of PROV can write."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else f"-{ord(c):x}-" for c in text)
    return f"{prefix}:{safe}"


def _dataset_name(dataset: DatasetNode) -> str:
    return _name("dataset", dataset.key)


def _text(value: Any) -> str:
    return json.dumps(value, default=str, sort_keys=True, ensure_ascii=False)


def _entity(document: ProvDocument, dataset: DatasetNode) -> None:
    document.entity(
        _dataset_name(dataset),
        _clean({
            "prov:label": str(dataset),
            "prov:type": "supertask:Dataset",
            "prov:location": dataset.path,
            "voprov:name": str(dataset),
            "voprov:location": dataset.path,
            "supertask:datasetType": dataset.name,
            "supertask:dataId": _text(dict(dataset.dataId)),
            "supertask:identity": dataset.identity,
            "supertask:run": dataset.run,
            "supertask:checksum": dataset.checksum,
            "supertask:size": dataset.size if dataset.size >= 0 else None,
            "supertask:format": dataset.storage,
            "supertask:fileState": dataset.state.value,
        }),
    )  # fmt: skip


def _run(document: ProvDocument, run: RunNode) -> None:
    document.collection(
        _name("run", run.name),
        _clean({
            "prov:label": run.name,
            "voprov:name": run.name,
            "supertask:command": run.command,
            "supertask:expression": run.where,
            "supertask:planned": run.created,
        }),
    )  # fmt: skip
    for package, version in run.versions.items():
        document.agent(
            _name("software", f"{package} {version}"),
            {
                "prov:type": "prov:SoftwareAgent",
                "prov:label": f"{package} {version}",
                "voprov:name": package,
                "supertask:version": version,
            },
        )
        document.wasAttributedTo(_name("run", run.name), _name("software", f"{package} {version}"))
    for user in dict.fromkeys([run.user, *(str(s.get("user", "")) for s in run.sessions)]):
        if user:
            document.agent(_name("user", user), {"prov:type": "prov:Person", "voprov:name": user})
            document.wasAttributedTo(_name("run", run.name), _name("user", user))


def _activity(document: ProvDocument, found: Provenance, quantum: QuantumNode) -> None:
    name, last = _name("quantum", quantum.key), quantum.last
    document.activity(
        name,
        _when(last.start) if last is not None else None,
        _when(last.end) if last is not None else None,
        _clean({
            "prov:label": str(quantum),
            "prov:type": "supertask:Quantum",
            "voprov:name": str(quantum),
            "voprov:startTime": _when(last.start) if last is not None else None,
            "voprov:endTime": _when(last.end) if last is not None else None,
            "voprov:comment": "; ".join(quantum.caveats),
            "voprov:description": quantum.label,
            "supertask:status": quantum.status.value,
            "supertask:identity": quantum.identity,
            "supertask:task": quantum.class_path,
            "supertask:taskVersion": quantum.version,
            "supertask:sourceHash": quantum.source,
            "supertask:parameters": _text(quantum.parameters) if quantum.parameters is not None else None,
            "supertask:attempts": len(quantum.attempts),
            "supertask:host": last.host if last is not None else None,
            "supertask:wallSeconds": last.wall if last is not None else None,
            "supertask:cpuSeconds": last.cpu if last is not None else None,
            "supertask:peakMemoryBytes": last.peak_memory if last is not None else None,
        }),
    )  # fmt: skip
    config = _name("config", f"{quantum.label}-{digest(canonical(dict(quantum.config))).hex()}")
    document.entity(
        config,
        {
            "prov:type": "prov:Plan",
            "prov:label": f"configuration of {quantum.label}",
            "voprov:name": quantum.label,
            "supertask:config": _text(dict(quantum.config)),
        },
    )
    task = _name("software", f"{quantum.class_path} {quantum.source or quantum.version}")
    document.agent(task, {"prov:type": "prov:SoftwareAgent", "prov:label": quantum.class_path})
    document.wasAssociatedWith(name, task, plan=config)
    for use in quantum.inputs:
        if use.use is Use.READ:
            document.used(
                name,
                _dataset_name(found.datasets[use.dataset]),
                other_attributes={"prov:role": found.datasets[use.dataset].name},
            )
    written = last is not None and last.status.finished
    for key in quantum.outputs if written else ():
        dataset = _dataset_name(found.datasets[key])
        document.wasGeneratedBy(dataset, name, _when(last.end) if last is not None else None)
        document.hadMember(_name("run", quantum.run), dataset)
        for use in quantum.inputs:
            if use.use is Use.READ:
                document.wasDerivedFrom(dataset, _dataset_name(found.datasets[use.dataset]), activity=name)


def _when(time_ns: int) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(time_ns / 1e9, dt.UTC) if time_ns else None
