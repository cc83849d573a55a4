"""Our figures beside those of other software, measured on one machine in one go.

``python -m benchmarks.peers [--size N]`` installs LSST's middleware into a virtual environment of its own
(``.venv-lsst``), runs its programs and our benchmarks on the same kind of workload one after the other, and
prints both with their ratio. `lsst` knows the programs: they are not part of this project but lie in the
folder that ``SUPERTASK_PEERS`` names (``../shared/peers`` unless set), each peer in a folder of its own with
its requirements.
"""

from __future__ import annotations

__all__: list[str] = []
