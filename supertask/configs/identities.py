"""What makes two configurations or tasks the same; see `supertask.canonical` for plain values.

What enters a task's identity (`task_key`) are the path of its class, its declared version, and those
fields of its configuration that

- are not `meta`: those change no result;
- are not names of dataset types: what is read enters by its own identity, what is written by the
  type that is written;
- differ from their default: so a field that is added with a default keeps identities. The other side
  of this: *whoever changes a default changes results, and must change the class's `version` with it.*

A subtask enters by the path of its class, its version and its configuration, likewise.

A class that was renamed or moved says so in ``former_names``, oldest first, and a configuration's
``renamed_fields`` say what fields were called: what enters is the oldest name, so that old identities are
found again.
"""

from __future__ import annotations

from typing import Any

from supertask.canonical import VERSION, IdentityError, digest, encode, part
from supertask.canonical import canonical as canonical_plain
from supertask.classpath import class_path
from supertask.configs.config import Config
from supertask.configs.fields import Configurable
from supertask.kinds.base import MISSING

__all__ = ["IdentityError", "canonical", "digest", "identity_field", "identity_path", "task_key"]


def canonical(value: Any) -> bytes:
    """Return the canonical encoding of a value, which may hold configurations.

    Parameters
    ----------
    value : object
        A `Config`, anything that `supertask.canonical.canonical` takes, or what is made of them.

    Raises
    ------
    IdentityError
        It is, or has in it, something else; the message gives its place.
    """
    return canonical_plain(value, _configured)


def task_key(task_class_path: str, version: str, config: Config) -> bytes:
    """Return the identity of a task, 16 bytes; see the module's docstring for what enters.

    Parameters
    ----------
    task_class_path : str
        ``package.module:Class``.
    version : str
        Version that the class declares.
    config : Config
        Its configuration.
    """
    return digest(
        b"task",
        canonical(task_class_path),
        canonical(version),
        VERSION + encode(config, "config", _configured),
    )


def identity_path(cls: type) -> str:
    """Return the path by which a class enters identities: the oldest that it had.

    Raises
    ------
    IdentityError
        Its ``former_names`` are not paths of classes.
    """
    # A class that derives from a renamed one was not renamed with it.
    former = cls.__dict__.get("former_names", ())
    if isinstance(former, str) or not all(isinstance(n, str) and ":" in n for n in former):
        raise IdentityError(
            f"{class_path(cls)}: former_names is {former!r}; give a tuple of paths, such as "
            "('package.module:Class',), the oldest first"
        )
    return former[0] if former else class_path(cls)


def identity_field(config: Config, name: str) -> str:
    """Return the name by which a field enters identities: the oldest that it had."""
    fields = config.config_fields
    return next(
        (old for old, new in config.renamed_fields.items() if new == name and old not in fields), name
    )


def _configured(value: Any, place: str) -> bytes | None:
    if isinstance(value, Config):
        return part(b"c", _config(value, place))
    if isinstance(value, Configurable):
        version = str(getattr(value.target, "version", ""))
        inner = encode(value.config, f"{place}.config", _configured)
        return part(b"t", encode(identity_path(value.target), place) + encode(version, place) + inner)
    return None


def _config(config: Config, place: str) -> bytes:
    """Encode the fields that enter identity and are not at their default."""
    parts = []
    named = sorted((identity_field(config, name), name) for name in config.config_fields)
    for told, name in named:
        field = config.config_fields[name]
        if not field.identity:
            continue
        value, default = getattr(config, name), field.default
        encoded = encode(value, f"{place}.{name}", _configured)
        if default is not MISSING:
            at_default = encoded == encode(default, f"the default of {place}.{name}", _configured)
        else:
            # A nested configuration without a default of its own has those of its class.
            at_default = isinstance(value, Config) and encoded == part(b"c", b"")
        if not at_default:
            parts.append(encode(told, place) + encoded)
    return b"".join(parts)
