"""Plan the work: from a pipeline and a data repository to a complete Science DAG.

Layout, from the top down:

- `graphbuilder.builder`: the GraphBuilder, which makes plans;
- `graphbuilder.batcher`: the QuantumBatcher, which merges quanta into bundles, by the steps in
  `graphbuilder.batching`; `graphbuilder.sizing`: how large these should be, by what was measured;
- `graphbuilder.reuse`: what earlier runs made already, `graphbuilder.clobber`: what of it is replaced, and
  `graphbuilder.identitydiff`: in what two identities part;
- `graphbuilder.needs`, `graphbuilder.loading`, `graphbuilder.following`: what a pipeline needs of a
  repository, and how it is read; `graphbuilder.checks`: what is refused;
- `graphbuilder.expressions`: the data-ID expression language;
- `graphbuilder.exports`: plans for other tools; `graphbuilder.workflows`: workflows of others as plans;
- `graphbuilder.dag`: the Science DAG and its file. It is all that executors may import of this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphbuilder.batcher import QuantumBatcher
    from graphbuilder.builder import GraphBuilder
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.reuse import Reuse

__all__ = ["GraphBuilder", "QuantumBatcher", "Reuse", "ScienceDag"]

_HOMES = {
    "GraphBuilder": "graphbuilder.builder",
    "QuantumBatcher": "graphbuilder.batcher",
    "Reuse": "graphbuilder.reuse",
    "ScienceDag": "graphbuilder.dag.dag",
}


def __getattr__(name: str) -> Any:
    # Lazily, so that reading a plan never imports the builder.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
