"""The Butler's contract: datasets are put, got, registered, removed and found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from supertask.butler.content import checksum_file
from supertask.butler.port import AbstractButler
from supertask.datasets import Dataset
from supertask.errors import (
    DataIdError,
    DatasetExistsError,
    DatasetNotFoundError,
    DatasetTypeError,
    RepositoryError,
    StorageError,
)
from supertask.rows import FileRecord
from supertask.testing.survey import (
    RUN,
    ButlerFixtures,
    Notes,
    Raw,
    Table,
    raw,
)

__all__ = ["DatasetContract"]


class DatasetContract(ButlerFixtures):
    """Tests of datasets one by one."""

    # -- put and get ------------------------------------------------------------------------------

    def test_what_was_put_is_got_by_every_way_of_saying_it(self, survey: AbstractButler) -> None:
        handle = survey.put({"a": 1}, Raw, {"instrument": "Cam"}, exposure=101, detector=2)
        assert handle == raw(101, 2)
        assert survey.get(handle) == {"a": 1}
        assert survey.get(Raw, {"instrument": "Cam", "exposure": 101, "detector": 2}) == {"a": 1}
        assert survey.get("raw", instrument="Cam", exposure=np.int64(101), detector=2) == {"a": 1}
        assert survey.exists(handle)

    def test_a_type_without_units_has_one_dataset(self, survey: AbstractButler) -> None:
        survey.put("remember", Notes())
        assert survey.get("notes") == "remember"
        assert survey.query(Notes) == [Notes()]
        with pytest.raises(DatasetExistsError):
            survey.put("again", Notes())

    def test_a_value_that_is_changed_after_put_or_get_changes_nothing(self, survey: AbstractButler) -> None:
        value = {"a": [1]}
        survey.put(value, raw(101, 0))
        value["a"].append(2)
        survey.get(raw(101, 0))["a"].append(3)
        assert survey.get(raw(101, 0)) == {"a": [1]}

    def test_deferred_and_partial_reads(self, survey: AbstractButler) -> None:
        handle = Table(instrument="Cam", detector=1)
        survey.put({"x": np.arange(3), "y": np.ones(2)}, handle)
        deferred = survey.get_deferred(handle)
        assert set(deferred.get()) == {"x", "y"}
        assert list(deferred.get(arrays=["x"])) == ["x"]
        assert list(survey.get(handle, parameters={"arrays": ["y"]})) == ["y"]
        with pytest.raises(StorageError, match="has no parameter 'array'.*did you mean 'arrays'"):
            survey.get(handle, parameters={"array": ["y"]})

    def test_what_is_in_a_run_is_written_once(self, survey: AbstractButler) -> None:
        survey.put(1, raw(101, 0))
        with pytest.raises(DatasetExistsError, match=r"raw\{.*exposure=101"):
            survey.put(2, raw(101, 0))
        assert survey.get(raw(101, 0)) == 1

    def test_put_without_a_run_says_how_to_set_one(self, survey: AbstractButler) -> None:
        survey.run = None
        with pytest.raises(RepositoryError, match="run="):
            survey.put(1, raw(101, 0))

    def test_put_of_unknown_units_names_them(self, survey: AbstractButler) -> None:
        with pytest.raises(DataIdError, match="exposure 555"):
            survey.put(1, raw(555, 0))
        assert not survey.exists(raw(555, 0))
        assert survey.query(Raw) == [] if "raw" in survey.dataset_types() else True

    def test_a_value_that_the_format_does_not_keep_is_refused_and_leaves_nothing(
        self, survey: AbstractButler
    ) -> None:
        with pytest.raises(StorageError, match=r"raw\{.*object"):
            survey.put(object(), raw(101, 0))
        assert not survey.exists(raw(101, 0))
        survey.put(1, raw(101, 0))
        assert survey.get(raw(101, 0)) == 1

    def test_what_is_not_there_is_said_with_the_collections_searched(self, filled: AbstractButler) -> None:
        with pytest.raises(DatasetNotFoundError, match="raw/all"):
            filled.get(raw(555, 0))
        assert not filled.exists(raw(555, 0))
        with pytest.raises(DatasetTypeError, match="did you mean 'raw'"):
            filled.get("row", instrument="Cam", exposure=101, detector=0)
        with pytest.raises(DataIdError, match="did you mean 'exposure'"):
            filled.get("raw", instrument="Cam", exposre=101, detector=0)
        with pytest.raises(DataIdError, match="'detector' is missing"):
            filled.get("raw", instrument="Cam", exposure=101)
        with pytest.raises(DataIdError, match="must be an int"):
            filled.get("raw", instrument="Cam", exposure="101", detector=0)

    # -- dataset types ----------------------------------------------------------------------------

    def test_a_type_is_registered_once_and_may_not_change(self, survey: AbstractButler) -> None:
        assert survey.register_type(Raw)
        assert not survey.register_type(Raw)
        assert not survey.register_type(Dataset.subclass("raw", ("detector", "exposure"), "json"))
        assert survey.dataset_types() == {"raw": Raw}
        other = Dataset.subclass("raw", ("exposure", "detector"), "fits_image")
        with pytest.raises(DatasetTypeError, match=r"(?s)json.*fits_image|fits_image.*json"):
            survey.register_type(other)
        with pytest.raises(DatasetTypeError):
            survey.put(1, other(instrument="Cam", exposure=101, detector=0))
        with pytest.raises(DataIdError, match="telescope"):
            survey.register_type(Dataset.subclass("odd", ("telescope",), "json"))

    # -- registering files that are in place --------------------------------------------------------

    @staticmethod
    def _records(folder: Path, detectors: range, exposure: int = 101) -> list[FileRecord]:
        records = []
        for detector in detectors:
            path = folder / f"{exposure}-{detector}.json"
            path.write_text(json.dumps({"detector": detector}))
            size, checksum = path.stat().st_size, checksum_file(path)
            identity = bytes([detector]) * 16
            records.append(FileRecord(raw(exposure, detector), str(path), size, checksum, identity))
        return records

    def test_registered_files_are_read_and_left_alone(self, survey: AbstractButler, tmp_path: Path) -> None:
        records = self._records(tmp_path, range(3))
        assert survey.register(RUN, records) == 3
        assert survey.get(raw(101, 2)) == {"detector": 2}
        assert survey.locate(raw(101, 1)) == records[1]
        assert survey.remove([raw(101, 1)], run=RUN) == 1
        assert not survey.exists(raw(101, 1))
        assert Path(records[1].location).exists()

    def test_registering_twice_is_refused_or_passed_over(
        self, survey: AbstractButler, tmp_path: Path
    ) -> None:
        records = self._records(tmp_path, range(3))
        survey.register(RUN, records[:2])
        with pytest.raises(DatasetExistsError, match="detector=0"):
            survey.register(RUN, records)
        assert not survey.exists(raw(101, 2)), "all or none"
        assert survey.register(RUN, records, skip_existing=True) == 1
        assert survey.register(RUN, records, skip_existing=True) == 0
        assert survey.register("other/run", records) == 3
        assert survey.register(RUN, []) == 0

    def test_registering_unknown_units_names_them_and_does_nothing(
        self, survey: AbstractButler, tmp_path: Path
    ) -> None:
        records = self._records(tmp_path, range(2)) + self._records(tmp_path, range(2), exposure=777)
        with pytest.raises(DataIdError, match="exposure=777|exposure 777"):
            survey.register(RUN, records)
        assert not survey.exists(raw(101, 0))

    def test_a_registered_file_that_is_gone_is_said(self, survey: AbstractButler, tmp_path: Path) -> None:
        records = self._records(tmp_path, range(1))
        survey.register(RUN, records)
        Path(records[0].location).unlink()
        assert not survey.exists(raw(101, 0))
        with pytest.raises(StorageError, match=r"101-0\.json is gone"):
            survey.get(raw(101, 0))

    # -- removing -----------------------------------------------------------------------------------

    def test_removed_datasets_can_be_put_again(self, filled: AbstractButler) -> None:
        assert filled.remove([raw(101, 0), raw(101, 1)], run=RUN) == 2
        assert not filled.exists(raw(101, 0))
        assert len(filled.query(Raw)) == 19
        filled.put("new", raw(101, 0))
        assert filled.get(raw(101, 0)) == "new"
        with pytest.raises(DatasetNotFoundError, match="detector=1"):
            filled.remove([raw(101, 0), raw(101, 1)], run=RUN)
        assert filled.exists(raw(101, 0)), "all or none"
        assert filled.remove([raw(101, 0), raw(101, 1)], run=RUN, skip_missing=True) == 1
        assert filled.remove([raw(101, 0), raw(101, 1)], run=RUN, skip_missing=True) == 0
