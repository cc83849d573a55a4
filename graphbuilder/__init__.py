"""Plan the work: from a pipeline and a data repository to a complete Science DAG.

Layout, from the top down:

- `builder`: the GraphBuilder, which makes plans; `sharding` and `shards`: in several processes;
- `batcher`: the QuantumBatcher, which merges quanta into bundles, by the steps in `batching`; `sizing`: how
  large these should be, by what was measured;
- `reasons` and `explain`: why a quantum is in a plan, or is not; `comparing`: two plans beside each other;
- `reuse`: what earlier runs made already; `preview`: plans to look at;
- `loading`: what a pipeline needs of a repository, and how it is read; `tasks`: what is worked out of each;
- `expressions`: the data-ID expression language;
- `exports`: plans for other tools; `workflows`: workflows of others as plans;
- `dag`: the Science DAG and its file. It is all that executors may import of this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphbuilder.batcher import QuantumBatcher
    from graphbuilder.builder import GraphBuilder
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.reuse.planning import Reuse

__all__ = ["GraphBuilder", "QuantumBatcher", "Reuse", "ScienceDag"]

_HOMES = {
    "GraphBuilder": "graphbuilder.builder",
    "QuantumBatcher": "graphbuilder.batcher",
    "Reuse": "graphbuilder.reuse.planning",
    "ScienceDag": "graphbuilder.dag.dag",
}


def __getattr__(name: str) -> Any:
    # Lazily, so that reading a plan never imports the builder.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
