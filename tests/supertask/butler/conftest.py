from __future__ import annotations

import itertools

import pytest

from supertask.butler.repository import Butler
from supertask.testing import postgres

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_server():
    reason = postgres.why_not()
    if reason:
        pytest.skip(reason)
    with postgres.server() as server:
        yield server


@pytest.fixture
def new_repository(tmp_path):
    """Make repositories on a server, and drop their schemas after."""
    made = []

    def make(server, model="imaging"):
        root = tmp_path / f"repo{next(_numbers)}"
        butler = Butler.create(root, model, registry=server.url)
        made.append((butler, server))
        return butler

    yield make
    for butler, server in made:
        butler.close()
        drop(server, butler)


def drop(server, butler):
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {butler._registry._backend.url.schema} CASCADE")
