from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from supertask.errors import StorageError
from supertask.formats import find
from supertask.formats.find import find_format, known_formats
from supertask.formats.port import StorageFormat
from supertask.tasks.struct import Struct
from supertask.testing.formats import FormatContract


def table(masked=False):
    from astropy import units as u
    from astropy.table import Table

    t = Table(
        {"id": np.arange(4), "flux": np.array([1.5, 2.5, np.nan, 4]), "name": ["a", "bb", "", "d"]},
        meta={"ORIGIN": "here"},
    )
    t["flux"].unit = u.Jy
    t["id"].description = "a number"
    if masked:
        t = Table(t, masked=True)
        t["flux"].mask = [False, True, False, False]
    return t


class TableContract(FormatContract):
    values = (table, lambda: table(masked=True))
    refused = ({"a": [1]}, 3)

    def same(self, a, b):
        if a.colnames != b.colnames or len(a) != len(b):
            return False
        for name in a.colnames:
            left, right = a[name], b[name]
            null = [np.asarray(getattr(c, "mask", np.zeros(len(c), bool))) for c in (left, right)]
            if not np.array_equal(*null) or left.unit != right.unit or left.dtype.kind != right.dtype.kind:
                return False
            keep = ~null[0]
            if not all(x == y or (x != x and y != y) for x, y in zip(left[keep], right[keep], strict=True)):
                return False
        return a.meta.get("ORIGIN") == b.meta.get("ORIGIN")

    def test_some_columns_are_read_in_the_order_asked_for(self, tmp_path):
        path = str(tmp_path / f"t{self.format.extension}")
        self.format.write(table(), path)
        assert self.format.read(path, {"columns": ["name", "id"]}).colnames == ["name", "id"]
        assert self.format.read(path, {"columns": "flux"})["flux"].unit == "Jy"
        with pytest.raises(StorageError, match="no column 'flx'.*did you mean 'flux'"):
            self.format.read(path, {"columns": ["flx"]})

    def test_quantities_keep_their_unit(self, tmp_path):
        from astropy import units as u
        from astropy.table import QTable

        path = str(tmp_path / f"q{self.format.extension}")
        self.format.write(QTable({"t": [1.0, 2.0] * u.s}), path)
        assert u.Quantity(self.format.read(path, {})["t"]).unit == u.s


class TestFitsTable(TableContract):
    format = find_format("fits_table")


class TestEcsv(TableContract):
    format = find_format("ecsv")
    extends_truncated = True


class TestParquet(TableContract):
    format = find_format("parquet")

    @pytest.fixture(autouse=True)
    def _pyarrow(self):
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")


class TestJson(FormatContract):
    format = find_format("json")
    values = ({"a": [1, 2.5, None, True, "ü\n"], "b": {}}, [], "text", 3, None, {"inf": float("inf")})
    refused = (object(), {1: 2}, {"a": {2: 3}}, {"a": b"bytes"}, {1, 2})

    def test_numbers_of_numpy_tuples_and_structs_become_plain(self, tmp_path):
        path = str(tmp_path / "x.json")
        self.format.write(
            {"a": np.float32(0.5), "b": np.arange(2), "c": (1,), "d": Struct(x=np.int8(1))}, path
        )
        assert self.format.read(path, {}) == {"a": 0.5, "b": [0, 1], "c": [1], "d": {"x": 1}}

    def test_what_cannot_be_kept_is_named_by_its_place(self, tmp_path):
        with pytest.raises(StorageError, match=r"value\['a'\]\[1\]\['b'\] is builtins\.object"):
            self.format.write({"a": [0, {"b": object()}]}, str(tmp_path / "x.json"))


class TestYaml(FormatContract):
    format = find_format("yaml")
    values = ({"a": [1, 2.5, None, True, "no", "12:30:00", "2026-01-05"], "b": {}}, [1], "text")
    refused = (object(), {1: 2})
    extends_truncated = True


class TestText(FormatContract):
    format = find_format("text")
    values = ("naïve\r\n\ttext\n", "")
    refused = (3, b"bytes")
    extends_truncated = True


class TestNumpy(FormatContract):
    format = find_format("numpy")
    values = (
        np.arange(600.0).reshape(20, 30),
        {"a": np.arange(300), "b": np.array(["x", "yy"]), "c": np.zeros((0, 3), "f4")},
        np.array([(1, 2.5)], dtype=[("n", "i4"), ("x", "f8")]),
        np.array(["2026-01-05"], "M8[D]"),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
    )
    refused = (np.array([object()]), {"a/b": np.arange(2)}, {1: np.arange(2)}, "text" and [object()],
               np.ma.masked_array([1, 2], [True, False]))  # fmt: skip

    def test_an_array_is_mapped_not_read(self, tmp_path):
        path = str(tmp_path / "x.npy")
        self.format.write(np.arange(5), path)
        found = self.format.read(path, {"mmap": True})
        assert isinstance(found, np.memmap)
        assert found[3] == 3

    def test_some_arrays_are_read_by_name(self, tmp_path):
        path = str(tmp_path / "x.npy")
        self.format.write({"a": np.arange(5), "b": np.arange(2)}, path)
        assert list(self.format.read(path, {"arrays": ["b"]})) == ["b"]
        with pytest.raises(StorageError, match="no array c; it has a, b"):
            self.format.read(path, {"arrays": ["c"]})
        self.format.write(np.arange(5), str(tmp_path / "y.npy"))
        with pytest.raises(StorageError, match="holds one array"):
            self.format.read(str(tmp_path / "y.npy"), {"arrays": ["c"]})


class TestHdf5(FormatContract):
    format = find_format("hdf5")
    values = (
        {
            "image": np.arange(6000, dtype=">f4").reshape(60, 100),
            "group": {"deep": {"x": np.array([True, False]), "empty": {}}, "none": None},
            "names": np.array(["a", "", "ünï"]),
            "raw": np.array([b"ab", b"c"]),
            "text": "naïve",
            "empty text": "",
            "n": 2**40,
            "x": 0.1,
            "z": 1 + 2j,
            "yes": True,
            "bytes": b"\0\1\xff",
            "nothing": b"",
            "no rows": np.zeros((0, 2)),
        },
        {},
    )
    refused = (np.arange(3), {1: 2}, {"a/b": 1}, {"a": object()}, {"a": [object()]}, {"a": "\0"})

    def test_one_dataset_some_rows_and_groups_are_read(self, tmp_path):
        path = str(tmp_path / "x.h5")
        self.format.write(self._values()[0], path)
        assert self.format.read(path, {"dataset": "group/deep/x"}).tolist() == [True, False]
        assert list(self.format.read(path, {"dataset": "group"})) == ["deep", "none"]
        assert self.format.read(path, {"dataset": "image", "rows": (2, 4)}).shape == (2, 100)
        assert self.format.read(path, {"dataset": "names", "rows": (2, 3)}).tolist() == ["ünï"]
        with pytest.raises(StorageError, match="no dataset 'imag'.*did you mean 'image'"):
            self.format.read(path, {"dataset": "imag"})
        with pytest.raises(StorageError, match="not within"):
            self.format.read(path, {"dataset": "image", "rows": (50, 61)})
        with pytest.raises(StorageError, match="needs 'dataset'"):
            self.format.read(path, {"rows": (0, 1)})


# -- finding formats --------------------------------------------------------------------------------


def test_an_unknown_format_is_refused_with_the_nearest():
    with pytest.raises(StorageError, match="did you mean 'fits_image'.*ecsv"):
        find_format("fits_imag")
    assert set(known_formats()) >= {"fits_image", "json", "numpy", "hdf5", "parquet"}


def test_formats_of_other_packages_are_found_by_entry_point(tmp_path, monkeypatch):
    (tmp_path / "other_package.py").write_text(
        "from supertask.formats.port import StorageFormat\n"
        "class Lines(StorageFormat):\n"
        "    name, extension = 'lines', '.lines'\n"
        "    def write(self, value, path): open(path, 'w').writelines(value)\n"
        "    def read(self, path, parameters): return list(open(path))\n"
        "class NoFormat: pass\n"
    )
    info = tmp_path / "other_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: other-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[supertask.formats]\nlines = other_package:Lines\nodd = other_package:NoFormat\n"
        "gone = no_such_module:X\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    find.find_format.cache_clear()
    try:
        assert isinstance(find_format("lines"), StorageFormat)
        assert "lines" in known_formats()
        with pytest.raises(StorageError, match="no subclass of StorageFormat"):
            find_format("odd")
        with pytest.raises(StorageError, match="cannot be imported.*no_such_module"):
            find_format("gone")
    finally:
        find.find_format.cache_clear()
        sys.modules.pop("other_package", None)


def test_without_pyarrow_parquet_says_which_extra_has_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StorageError, match=r"supertask\[parquet\]"):
        find_format("parquet").write(table(), str(Path(tmp_path) / "x.parquet"))
