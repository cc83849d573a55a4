"""The Science DAG and its file: all that an ExecutionFramework needs of a plan.

- `dag`: `ScienceDag`, the plan in columns;
- `values`: what it is described by (tasks, provenance, bundles, one quantum's record);
- `file`: the HDF5 file, written whole, read whole or in part;
- `columns`: columns that stay in the file until asked for;
- `identity`: Merkle identities of quanta and datasets;
- `topology`: who waits for whom;
- `parameters`: per-quantum values.
"""
