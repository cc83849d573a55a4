"""The contract of Butlers, as tests: what every data repository must do.

A package that has a Butler of its own tests it so::

    class TestMyButler(ButlerContract):
        @pytest.fixture
        def butler(self, tmp_path):
            return MyButler.create(tmp_path / "repo", "imaging")
"""

from __future__ import annotations

from supertask.testing.butler_collections import CollectionContract
from supertask.testing.butler_columns import ColumnContract
from supertask.testing.butler_datasets import DatasetContract
from supertask.testing.survey import fill_with_survey

__all__ = ["ButlerContract", "fill_with_survey"]


class ButlerContract(DatasetContract, ColumnContract, CollectionContract):
    """Tests that every Butler must pass; override the fixture `butler`."""
