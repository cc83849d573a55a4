"""Classes by path: ``package.module:Class``, as pipeline files and Science DAGs name them."""

from __future__ import annotations

import importlib
from typing import Any

from supertask.errors import SuperTaskError, did_you_mean

__all__ = ["ClassPathError", "class_path", "load_class"]


class ClassPathError(SuperTaskError):
    """A class path names nothing that can be imported, or not the kind of class that is wanted."""


def class_path(cls: type) -> str:
    """Return the path of a class, ``package.module:Qualname``."""
    return f"{cls.__module__}:{cls.__qualname__}"


def load_class(path: str, base: type = object) -> type[Any]:
    """Import the class that a path names.

    Parameters
    ----------
    path : str
        ``package.module:Class``; ``package.module.Class`` is understood too.
    base : type, optional
        What it must be a subclass of.

    Raises
    ------
    ClassPathError
        It cannot be imported, or is something else.
    """
    module_name, colon, qualname = path.partition(":")
    if not colon:
        module_name, _, qualname = path.rpartition(".")
    if not all(part.isidentifier() for part in [*module_name.split("."), *qualname.split(".")]):
        raise ClassPathError(
            f"{path!r} is no path of a class: write it as 'package.module:Class', and define the class at "
            "the top of a module, not inside a function"
        )
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ClassPathError(
            f"cannot import {path!r}: there is no module {error.name!r}; is its package installed, and "
            "is its folder on the Python path?"
        ) from error
    except (Exception, SystemExit) as error:  # a script that ends the program when it is imported
        raise ClassPathError(
            f"cannot import {path!r}: module {module_name!r} raises {type(error).__name__}: {error}"
        ) from error
    for i, name in enumerate(qualname.split(".")):
        try:
            found = getattr(found, name)
        except AttributeError:
            owner = ".".join([module_name, *qualname.split(".")[:i]])
            classes = [n for n, v in vars(found).items() if isinstance(v, type)]
            raise ClassPathError(
                f"cannot import {path!r}: {owner!r} has no class {name!r}{did_you_mean(name, classes)}"
            ) from None
    if not isinstance(found, type):
        raise ClassPathError(f"{path!r} is no class but {found!r}")
    if not issubclass(found, base):
        raise ClassPathError(f"{path!r} is no {base.__name__}: it derives from {_bases(found)}")
    return found


def _bases(cls: type) -> str:
    return ", ".join(b.__name__ for b in cls.__mro__[1:])
