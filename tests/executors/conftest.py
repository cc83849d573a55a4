from __future__ import annotations

import multiprocessing

import pytest

from executors import InProcessFramework, MultiprocessFramework
from tests.executors import frames

FRAMEWORKS = {
    "in process": InProcessFramework,
    "pool": lambda: MultiprocessFramework(2),
}


@pytest.fixture(params=FRAMEWORKS, ids=lambda name: name.replace(" ", "-"))
def framework(request):
    """Each framework, to hold all of them to one contract."""
    yield FRAMEWORKS[request.param]()
    assert not multiprocessing.active_children(), "a framework leaves no process behind"


@pytest.fixture
def here():
    """A framework for what the driver does for all of them alike."""
    return InProcessFramework()


@pytest.fixture
def pool():
    yield MultiprocessFramework(2)
    assert not multiprocessing.active_children()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "repo"


@pytest.fixture
def butler(root):
    with frames.make_repository(root) as butler:
        yield butler


@pytest.fixture
def control(tmp_path):
    folder = tmp_path / "control"
    folder.mkdir()
    return folder
