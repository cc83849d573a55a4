"""What SimCam's people say of its data."""

from __future__ import annotations

from pathlib import Path

__all__ = ["OVERRIDES"]

OVERRIDES = Path(__file__).with_name("overrides.yaml")
