"""The contract of storage formats, as tests: what every format must do.

A package that has a format of its own tests it so::

    class TestMyFormat(FormatContract):
        format = MyFormat()
        values = [1, 2]
        refused = [object()]
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from supertask.errors import StorageError
from supertask.formats.port import StorageFormat

__all__ = ["FormatContract"]


class FormatContract:
    """Tests that every storage format must pass; override the class attributes."""

    format: ClassVar[StorageFormat]
    """The format under test."""
    values: ClassVar[Sequence[Any]] = ()
    """Values that it keeps, each of another kind, or functions that make them."""
    refused: ClassVar[Sequence[Any]] = (object(),)
    """Values that it does not keep."""
    extends_truncated: ClassVar[bool] = False
    """Whether a part of a file may be a valid file, as that of a text is."""

    def same(self, a: Any, b: Any) -> bool:
        """Tell whether two values are equal; override where ``==`` does not tell."""
        if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            equal_nan = getattr(a, "dtype", np.dtype(int)).kind in "fc"
            return a.dtype == b.dtype and bool(np.array_equal(a, b, equal_nan=equal_nan))
        if isinstance(a, dict):
            return list(a) == list(b) and all(self.same(a[k], b[k]) for k in a)
        return type(a) is type(b) and bool(a == b)

    def _values(self) -> list[Any]:
        made = [v() if callable(v) else v for v in self.values]
        assert made, "give `values`, so that there is something to test"
        return made

    def _path(self, tmp_path: Path, name: str = "value") -> str:
        return str(tmp_path / f"{name}{self.format.extension}")

    def test_it_has_a_name_and_an_extension(self) -> None:
        assert self.format.name
        assert self.format.extension.startswith(".")

    def test_what_is_written_is_read_back_equal(self, tmp_path: Path) -> None:
        for i, value in enumerate(self._values()):
            before = copy.deepcopy(value)
            path = self._path(tmp_path, str(i))
            self.format.write(value, path)
            assert self.same(value, before), "writing changes nothing"
            assert self.same(self.format.read(path, {}), value)

    def test_what_was_read_does_not_need_its_file(self, tmp_path: Path) -> None:
        value = self._values()[0]
        path = self._path(tmp_path)
        self.format.write(value, path)
        found = self.format.read(path, {})
        Path(path).unlink()
        assert self.same(found, value)

    def test_equal_values_make_equal_bytes(self, tmp_path: Path) -> None:
        for i, value in enumerate(self._values()):
            paths = [self._path(tmp_path, f"{i}{name}") for name in "ab"]
            self.format.write(value, paths[0])
            self.format.write(copy.deepcopy(value), paths[1])
            assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()

    def test_encoding_gives_the_bytes_of_the_file(self, tmp_path: Path) -> None:
        for i, value in enumerate(self._values()):
            data = self.format.encode(value)
            path = self._path(tmp_path, str(i))
            self.format.write(value, path)
            assert data is None or data == Path(path).read_bytes()

    def test_values_of_other_kinds_are_refused(self, tmp_path: Path) -> None:
        for value in self.refused:
            with pytest.raises(StorageError, match="keeps"):
                self.format.write(value, self._path(tmp_path))

    def test_unknown_parameters_are_refused_and_the_known_named(self) -> None:
        with pytest.raises(StorageError, match=f"{self.format.name}.*no parameter 'no_such'"):
            self.format.check_parameters({"no_such": 1})
        assert self.format.check_parameters(None) == {}

    def test_a_file_that_is_not_there_is_an_error_of_the_system(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            self.format.read(self._path(tmp_path), {})

    @pytest.mark.parametrize("what", ["rubbish", "nothing", "half"])
    def test_a_broken_file_is_refused_by_name(self, tmp_path: Path, what: str) -> None:
        path = Path(self._path(tmp_path, "broken"))
        self.format.write(self._values()[0], str(path))
        data = path.read_bytes()
        rubbish = bytes(range(128, 256)) * 30
        path.write_bytes({"rubbish": rubbish, "nothing": b"", "half": data[: len(data) // 2]}[what])
        if what != "rubbish" and self.extends_truncated:
            pytest.skip("a part of such a file is a file")
        with pytest.raises(StorageError, match="broken"):
            self.format.read(str(path), {})
