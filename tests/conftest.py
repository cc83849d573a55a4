"""What all tests may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SUPERTASK_TEST_DATA") or ROOT.parent / "shared" / "data")
"""Where real frames and spectra are, if they are."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real frames and spectra, which are not part of the project."""
    if not DATA.is_dir():
        pytest.skip(f"no real data: {DATA} is not there; set SUPERTASK_TEST_DATA to a folder that has it")
    return DATA
