"""Plans for those who run them by other means: files for make, Snakemake, CWL runners, and WfFormat.

- `nodes`: bundles as nodes, and who waits for whom.
- `makefile`, `snakemake`, `cwl`: one module for each tool. A node runs ``supertask run-bundle`` on the copy
  of the plan that lies beside; the last step is ``supertask collect``.
- `wfformat`: a description for simulators and schedulers; nothing runs.
- `export`: chooses among them and writes the folder.

No text of a plan gets into a file that is run: nodes have numbers, and what they are called stands in
comments and JSON.
"""

from __future__ import annotations
