from __future__ import annotations

import pytest

from supertask.butler.memory import InMemoryButler
from supertask.butler.registry import columns as registry_columns
from supertask.butler.repository import Butler
from supertask.testing.butler import ButlerContract


class TestRepository(ButlerContract):
    @pytest.fixture
    def butler(self, tmp_path):
        with Butler.create(tmp_path / "repo", "imaging") as butler:
            yield butler
            assert not list(butler.datastore.temporary_files())


class TestInMemory(ButlerContract):
    @pytest.fixture
    def butler(self, tmp_path):
        return InMemoryButler("imaging")


@pytest.mark.engine
@pytest.mark.xdist_group("postgres")
class TestOnPostgres(ButlerContract):
    @pytest.fixture
    def butler(self, postgres_server, new_repository):
        butler = new_repository(postgres_server)
        yield butler
        assert not list(butler.datastore.temporary_files())


class TestOnPostgresWhereTablesAreLarge(TestOnPostgres):
    """Everything is looked up by IDs that are handed over, as it is where tables are too large to scan."""

    @pytest.fixture(autouse=True)
    def _nothing_is_small(self, monkeypatch):
        monkeypatch.setattr(registry_columns, "_SMALL", 0)
        monkeypatch.setattr(registry_columns, "_SELECTIVE", 2.0)


class TestRepositoryWhereTablesAreLarge(TestRepository):
    """As on PostgreSQL."""

    @pytest.fixture(autouse=True)
    def _nothing_is_small(self, monkeypatch):
        monkeypatch.setattr(registry_columns, "_SMALL", 0)
        monkeypatch.setattr(registry_columns, "_SELECTIVE", 2.0)
