"""Workflows of others as plans: instances of WfFormat, with simulated work.

- `instance`: reads and checks a file, gives values.
- `tasks`: the SuperTask that reads, sleeps, allocates and writes in the place of the real programs.
- `importing`: makes a repository and a pipeline of an instance, and plans it.
"""

from __future__ import annotations
