"""What a capsule says of itself, and how it is opened: nothing in it is believed without its checksum."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from supertask.butler.content import checksum_file
from supertask.errors import ExecutionError

__all__ = ["FORMAT", "MANIFEST", "Manifest", "Output", "open_capsule", "sums_of", "zip_folder"]

FORMAT = 1
MANIFEST = "capsule.json"
_CHUNK = 1 << 20
_LARGEST_MANIFEST = 1 << 28


@attrs.frozen
class Output:
    """A dataset that the quantum made."""

    dataset: str
    """In words."""
    storage: str
    location: str
    """In the repository, and below the folder that a capsule is run in."""
    size: int
    checksum: str
    kept: str = ""
    """Path in the capsule, where it was asked for."""


@attrs.frozen(kw_only=True)
class Manifest:
    """What a capsule says of itself."""

    run: str
    quantum: str
    """In words."""
    index: int
    identity: str
    """32 hexadecimal digits."""
    class_path: str
    version: str
    source: str
    """Hash of the task's source code."""
    versions: dict[str, str]
    """Package → version."""
    host: str = ""
    made: str = ""
    """When the outputs were made, UTC."""
    status: str = ""
    """What the quantum came to then."""
    notes: tuple[str, ...] = ()
    """What is to be known of it: inputs that were altered since."""
    outputs: tuple[Output, ...] = ()
    files: dict[str, tuple[int, str]] = attrs.field(factory=dict)
    """Path in the capsule → bytes, checksum."""

    def to_json(self) -> bytes:
        """Return it as the file has it, sealed."""
        body = json.dumps(attrs.asdict(self), separators=(",", ":"), ensure_ascii=False).encode()
        head = {"supertask-capsule": FORMAT, "seal": blake2b(body, digest_size=16).hexdigest()}
        return json.dumps(head).encode() + b"\n" + body + b"\n"

    @classmethod
    def from_json(cls, data: bytes, where: object) -> Manifest:
        """Read it back.

        Raises
        ------
        ExecutionError
            It is truncated, altered, of another version, or none.
        """
        try:
            first, _, body = data.partition(b"\n")
            head = json.loads(first)
            known = head["supertask-capsule"]
        except (ValueError, KeyError, TypeError):
            raise ExecutionError(f"{where} is not a capsule, or its {MANIFEST} is damaged") from None
        if known != FORMAT:
            raise ExecutionError(f"{where} is a capsule of format {known}, and this SuperTask reads {FORMAT}")
        body = body.removesuffix(b"\n")
        if blake2b(body, digest_size=16).hexdigest() != head.get("seal"):
            raise ExecutionError(f"{where}: its {MANIFEST} is truncated or altered; get the capsule again")
        said = json.loads(body)
        return cls(**{
            **said,
            "notes": tuple(said["notes"]),
            "outputs": tuple(Output(**o) for o in said["outputs"]),
            "files": {name: (int(size), str(checksum)) for name, (size, checksum) in said["files"].items()},
        })  # fmt: skip


def open_capsule(capsule: Path, into: Path) -> Manifest:
    """Copy what a capsule holds into an empty folder, each file checked.

    Parameters
    ----------
    capsule : Path
        Folder or zip file.
    into : Path
        The folder, which is there.

    Raises
    ------
    ExecutionError
        It is no capsule, truncated or altered, or holds what would end up outside of the folder.
    """
    if capsule.is_dir():
        try:
            data = (capsule / MANIFEST).read_bytes()
        except OSError as error:
            raise ExecutionError(f"{capsule} is not a capsule: {MANIFEST}: {error.strerror}") from None
        manifest = Manifest.from_json(data, capsule)
        for name in _names(manifest.files, capsule):
            source = capsule / name
            if source.is_symlink() or not source.is_file():
                raise ExecutionError(f"{capsule} is not whole: {name} is missing, or no plain file")
            with source.open("rb") as file:
                _take(file, into / name, manifest.files[name], f"{capsule}: {name}")
        return manifest
    if not capsule.is_file():
        raise ExecutionError(f"there is no capsule {capsule}")
    try:
        with zipfile.ZipFile(capsule) as archive:
            return _unzip(archive, capsule, into)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ExecutionError(f"{capsule} is not a zip file, truncated or altered: {error}") from None


def _unzip(archive: zipfile.ZipFile, capsule: Path, into: Path) -> Manifest:
    there: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.is_dir():
            continue
        _check_name(info.filename, capsule)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ExecutionError(f"{capsule}: {info.filename!r} is a link; a capsule holds plain files")
        if info.filename in there:
            raise ExecutionError(f"{capsule} holds {info.filename!r} twice")
        there[info.filename] = info
    manifest_info = there.pop(MANIFEST, None)
    if manifest_info is None or manifest_info.file_size > _LARGEST_MANIFEST:
        raise ExecutionError(f"{capsule} is not a capsule: it has no {MANIFEST}")
    manifest = Manifest.from_json(archive.read(manifest_info), capsule)
    strange = sorted(there.keys() - manifest.files.keys())
    if strange:
        raise ExecutionError(f"{capsule} was altered: it holds {strange[0]!r}, which it does not speak of")
    for name in _names(manifest.files, capsule):
        if name not in there:
            raise ExecutionError(f"{capsule} is not whole: {name} is missing")
        with archive.open(there[name]) as file:
            _take(file, into / name, manifest.files[name], f"{capsule}: {name}")
    return manifest


def _names(files: Mapping[str, Any], capsule: Path) -> Iterator[str]:
    for name in files:
        _check_name(name, capsule)
        yield name


def _check_name(name: str, capsule: Path) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in path.parts[0]:
        raise ExecutionError(
            f"{capsule} holds {name!r}, which would be written outside of its folder: do not trust it"
        )


def _take(file: Any, target: Path, expected: tuple[int, str], what: str) -> None:
    """Copy a file, no more of it than it is said to have, and check it."""
    size, checksum = expected
    target.parent.mkdir(parents=True, exist_ok=True)
    left = size + 1
    with target.open("xb") as out:
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            out.write(chunk)
            left -= len(chunk)
    if left != 1 or checksum_file(target) != checksum:
        raise ExecutionError(f"{what} is truncated or altered: get the capsule again")


def zip_folder(folder: Path, target: Path) -> None:
    """Write a folder as a zip file, whole or not at all; equal folders give equal files."""
    temporary = target.with_name(f".tmp-{os.getpid()}-{target.name}")
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    names.sort(key=lambda name: name != MANIFEST)
    try:
        with zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name in names:
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                with (folder / name).open("rb") as file, archive.open(info, "w", force_zip64=True) as out:
                    while chunk := file.read(_CHUNK):
                        out.write(chunk)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def sums_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Return size and checksum of every file in a folder but the manifest."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return {
        name: ((folder / name).stat().st_size, checksum_file(folder / name))
        for name in names
        if name != MANIFEST
    }
