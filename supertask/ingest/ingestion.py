"""Ingest: from folders of FITS files to datasets in a run.

It goes in four steps, each over all files at once: find them, read and check them (in parallel),
settle who is what (data IDs that two files claim, units that contradict, what is there already), and
register the rest in bulk. A file that is refused at any step is named with the reason, and the
others go on. Stopped at any point and run again, it goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from supertask.butler.content import content_identity
from supertask.butler.port import AbstractButler, CollectionKind
from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import DataIdError, IngestError, SuperTaskError
from supertask.ingest.discovery import discover
from supertask.ingest.find import find_translator
from supertask.ingest.frames import Frame, Translator
from supertask.ingest.known import Registered, known_units, registered_in
from supertask.ingest.reading import Progress, ReadFile, read_files
from supertask.ingest.report import IngestReport
from supertask.ingest.transfer import Transfer, place, target_name
from supertask.ingest.unit_rows import dependency_order, gather
from supertask.rows import FileRecord
from supertask.sky.ingested import Kept, keep_footprints
from supertask.sky.relate import footprint_units

__all__ = ["ingest"]

_CHUNK = 5_000
"""Files registered in one transaction."""


def ingest(
    butler: AbstractButler,
    paths: Iterable[str | Path] | str | Path,
    translator: str | Path | Translator,
    *,
    run: str = "raw/all",
    transfer: Transfer | str = Transfer.DIRECT,
    processes: int | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Ingest FITS files into a run.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    paths : path or iterable of paths
        Files, and folders to search.
    translator : str or Path or Translator
        What says which units and datasets a file holds; see `find_translator`.
    run : str, optional
        RUN collection for the datasets.
    transfer : Transfer or str, optional
        Leave the files where they are (``direct``), or ``link``, ``copy`` or ``move`` them.
    processes : int, optional
        How many processes read files; by itself one per CPU if there are many files.
    progress : callable, optional
        Called with the stage, how many files are done, and of how many.

    Returns
    -------
    IngestReport
        What was ingested, skipped and refused; refused files raise nothing.

    Raises
    ------
    IngestError
        The translator or an argument is not valid; nothing was ingested.
    """
    how = _transfer(transfer, butler)
    found = find_translator(translator)
    found.check(butler.model)
    files, failed = discover(paths)
    read = read_files(files, found, butler.model, processes=processes, progress=progress)
    work = _Work(butler, found, run, how, dict(failed))
    work.settle(read)
    for dataset_type in found.dataset_types.values():
        butler.register_type(dataset_type)
    butler.create_collection(run, CollectionKind.RUN, doc=f"ingested by {found.name}")
    todo = list(work.claims)
    for start in range(0, len(todo), _CHUNK):
        work.register(todo[start : start + _CHUNK])
        if progress is not None:
            progress("register", min(start + _CHUNK, len(todo)), len(todo))
    return work.report()


def _transfer(transfer: Transfer | str, butler: AbstractButler) -> Transfer:
    try:
        how = Transfer(transfer)
    except ValueError:
        known = ", ".join(t.value for t in Transfer)
        raise IngestError(f"transfer must be one of {known}, and is {transfer!r}") from None
    if how is not Transfer.DIRECT and not butler.root:
        raise IngestError("this Butler has no folder to put files in: use transfer='direct'")
    return how


@attrs.define
class _Work:
    """One ingest under way."""

    butler: AbstractButler
    translator: Translator
    run: str
    transfer: Transfer
    failed: dict[str, str]
    skipped: dict[str, str] = attrs.field(factory=dict)
    warnings: dict[str, str] = attrs.field(factory=dict)
    ingested: list[Dataset] = attrs.field(factory=list)
    related: int = 0
    claims: dict[str, tuple[ReadFile, tuple[Dataset, ...]]] = attrs.field(factory=dict)
    """File → what it holds, of all files that are sound."""

    def report(self) -> IngestReport:
        return IngestReport(
            tuple(self.ingested),
            tuple(sorted(self.skipped.items())),
            tuple(sorted(self.failed.items())),
            tuple(sorted((p, w) for p, w in self.warnings.items() if p not in self.failed)),
            self.related,
        )

    def refuse(self, path: str, reason: str) -> None:
        """Refuse a file that was sound so far."""
        self.failed[path] = reason
        self.claims.pop(path, None)

    # -- who is what --------------------------------------------------------------------------

    def settle(self, read: Iterable[ReadFile]) -> None:
        """Sort out files that are bad, hold nothing, or claim what another claims."""
        owner: dict[Dataset, str] = {}
        rivals: dict[Dataset, list[str]] = {}
        for file in read:
            if file.problem:
                self.failed[file.path] = file.problem
                continue
            if not file.frames:
                self.skipped[file.path] = "the translator passes it over"
                continue
            if file.warning:
                self.warnings[file.path] = file.warning
            try:
                datasets = tuple(self._dataset(frame) for frame in file.frames)
            except SuperTaskError as error:
                self.failed[file.path] = str(error)
                continue
            if len(set(datasets)) < len(datasets):
                twice = next(d for i, d in enumerate(datasets) if d in datasets[:i])
                self.failed[file.path] = f"two of its HDUs claim to be {twice}"
                continue
            rival = next((owner[d] for d in datasets if d in owner), None)
            if rival is not None and self.claims[rival][0].checksum == file.checksum:
                self.skipped[file.path] = f"byte for byte the same as {rival}"
                continue
            self.claims[file.path] = (file, datasets)
            for dataset in datasets:
                rivals.setdefault(dataset, []).append(file.path)
                owner.setdefault(dataset, file.path)
        for dataset, paths in rivals.items():
            if len(paths) > 1:
                for path in paths:
                    others = ", ".join(p for p in paths if p != path)
                    self.refuse(path, f"it claims to be {dataset}, and so does {others}")

    def _dataset(self, frame: Frame) -> Dataset:
        dataset_type = self.translator.dataset_types[frame.dataset_type]
        closure = self.butler.model.closure(dataset_type.units)
        values = {u: frame.values.get(u) for u in closure}
        lacking = [u for u, v in values.items() if v is None]
        if lacking:
            raise DataIdError(
                f"a {dataset_type.name!r} needs {', '.join(lacking)}, which the file has no value for"
            )
        return dataset_type(self.butler.model.standardize(dataset_type.units, values, what=dataset_type.name))

    # -- into the repository ------------------------------------------------------------------

    def register(self, paths: list[str]) -> None:
        """Register some files, those among them that are new."""
        self._sift(paths)
        paths = [p for p in paths if p in self.claims]
        try:
            self._insert_units(paths)
        except SuperTaskError as error:
            for path in paths:
                self.refuse(path, f"its units cannot be registered: {error}")
            return
        records: dict[str, list[FileRecord]] = {}
        for path in paths:
            if path in self.claims:
                file, datasets = self.claims[path]
                try:
                    records[path] = self._records(file, datasets)
                except SuperTaskError as error:
                    self.refuse(path, str(error))
        if not records:
            return
        self._keep_footprints(records)
        flat = [r for found in records.values() for r in found]
        try:
            new = self.butler.register(self.run, flat, skip_existing=True)
        except SuperTaskError as error:
            for path, found in records.items():
                self._take_back(path, found, {})
                self.refuse(path, f"it cannot be registered: {error}")
            return
        if new < len(flat):
            self._yield_to_others(records)
        self._finish(records)

    def _sift(self, paths: Iterable[str]) -> None:
        """Skip what is registered with these bytes, refuse what is with others."""
        registered = self._registered(paths)
        for path in paths:
            file, datasets = self.claims[path]
            there = [registered.get(d) for d in datasets]
            if any(r is not None for r in there):
                changed = [
                    (d, r)
                    for d, r in zip(datasets, there, strict=True)
                    if r is not None and r.identity != _identity(d, file)
                ]
                if changed:
                    dataset, earlier = changed[0]
                    self.refuse(
                        path,
                        f"{dataset} is in run {self.run!r} already, from {earlier.location}, with other "
                        "content: the file changed, or another has its data ID; ingest it into another run",
                    )
                elif None not in there:
                    self.skipped[path] = "registered already"
                    self.claims.pop(path)

    def _registered(self, paths: Iterable[str]) -> dict[Dataset, Registered]:
        by_type: dict[type[Dataset], list[DataId]] = {}
        for path in paths:
            for dataset in self.claims[path][1]:
                by_type.setdefault(type(dataset), []).append(dataset.dataId)
        return {
            dataset_type(dataId): entry
            for dataset_type, dataIds in by_type.items()
            for dataId, entry in registered_in(self.butler, self.run, dataset_type, dataIds).items()
        }

    def _insert_units(self, paths: Iterable[str]) -> None:
        model = self.butler.model
        frames = [(p, f) for p in paths for f in self.claims[p][0].frames]
        units = {name for _, f in frames for name in f.values if "." not in name}
        for unit in dependency_order(model, units):
            frames = [(p, f) for p, f in frames if p in self.claims]
            closure = model.closure([unit])
            keys = {
                tuple(f.values[u] for u in closure)
                for _, f in frames
                if all(f.values.get(u) is not None for u in closure)
            }
            if not keys:
                continue
            known = known_units(self.butler, unit, keys)
            table, contradictions = gather(model, unit, frames, known)
            for wrong in contradictions:
                if wrong.path in self.claims:
                    self.refuse(wrong.path, wrong.reason)
            rows = list(table.rows(model, self.translator.combine, known))
            if rows:
                self.butler.insert_units(unit, rows)

    def _records(self, file: ReadFile, datasets: tuple[Dataset, ...]) -> list[FileRecord]:
        base = file.path
        if self.transfer is not Transfer.DIRECT:
            root = self.butler.root
            location = target_name(self.butler.location_for(datasets[0], self.run), file.path)
            placed = place(file.path, os.path.join(root, location), self.transfer, file.checksum)
            base = os.path.relpath(placed, root)
        return [
            FileRecord(
                dataset,
                f"{base}#hdu={frame.hdu}" if frame.fragment else base,
                file.size,
                file.checksum,
                _identity(dataset, file),
            )
            for dataset, frame in zip(datasets, file.frames, strict=True)
        ]

    def _yield_to_others(self, records: dict[str, list[FileRecord]]) -> None:
        """Another ingest was quicker with some: theirs stand, and what we placed for ours goes."""
        registered = self._registered(records)
        for path, found in list(records.items()):
            theirs = {r.dataset: registered[r.dataset] for r in found if r.dataset in registered}
            if all(theirs[r.dataset].location == r.location for r in found if r.dataset in theirs):
                continue
            self._take_back(path, found, theirs)
            del records[path]
            if all(theirs[r.dataset].identity == r.identity for r in found if r.dataset in theirs):
                self.claims.pop(path)
                self.skipped[path] = "registered already, by another ingest at the same time"
            else:
                self.refuse(
                    path, f"another ingest registered another file as {found[0].dataset} at the same time"
                )

    def _take_back(self, path: str, found: list[FileRecord], theirs: Mapping[Dataset, Registered]) -> None:
        """Delete the file that was placed for records which were not registered."""
        location = found[0].location.partition("#hdu=")[0]
        if self.transfer is Transfer.DIRECT or any(
            entry.location.partition("#hdu=")[0] == location for entry in theirs.values()
        ):
            return
        placed = Path(self.butler.root, location)
        if placed.resolve() != Path(path).resolve() or placed.is_symlink():
            placed.unlink(missing_ok=True)

    def _keep_footprints(self, paths: Iterable[str]) -> None:
        """Before datasets are registered, so that none is ever without its footprint."""
        units = footprint_units(self.butler.model)
        outlines = []
        owners: dict[tuple[Any, ...], list[str]] = {}
        for path in paths:
            file = self.claims[path][0]
            for frame, outline in zip(file.frames, file.footprints, strict=True):
                if outline is not None:
                    outlines.append((frame.values, outline))
                    owners.setdefault(tuple(frame.values.get(u) for u in units), []).append(path)
        try:
            kept = keep_footprints(self.butler, outlines) if outlines else Kept()
        except SuperTaskError as error:
            everyone = [path for owned in owners.values() for path in owned]
            self.warnings |= dict.fromkeys(everyone, f"its footprint is not kept: {error}")
            return
        self.related += kept.new
        if kept.unrelated:
            said = (
                f"its footprint is kept, but not related to patches: {kept.unrelated}; once that is put "
                "right, `supertask relation recompute` relates it"
            )
            self.warnings |= dict.fromkeys((path for owned in owners.values() for path in owned), said)
        for values, reason in kept.refused:
            for path in owners[tuple(values.get(u) for u in units)]:
                self.warnings[path] = f"its footprint is not kept: it {reason}"

    def _finish(self, records: Mapping[str, list[FileRecord]]) -> None:
        for path, found in records.items():
            self.ingested.extend(self.claims[path][1])
            if self.transfer is Transfer.MOVE and not found[0].location.startswith("/"):
                try:
                    Path(path).unlink()
                except OSError as error:
                    self.warnings[path] = f"it was copied, and cannot be removed: {error.strerror}"


def _identity(dataset: Dataset, file: ReadFile) -> bytes:
    return content_identity(dataset.name, dataset.dataId, file.checksum)
