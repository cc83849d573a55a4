"""A run in virtual time: what a plan would take somewhere, without running anything.

- `workload`: what quanta need and how often they fail, in columns; the critical path.
- `latencies`: what a framework adds, as it was measured (`latencies.json`); `measuring` measures it.
- `virtual`: slots and a driver that have a clock instead of processes. What may run next, what is tried again
  and what is blocked is decided by the code that real runs use: `executors.decisions.schedule`,
  `executors.driving.retrying`, `executors.decisions.quorum`.
- `simulate`: puts these together for a plan.
- `outcome`: what came of it.
"""

from __future__ import annotations
