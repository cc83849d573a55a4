"""Run bundles as jobs of HTCondor, or a whole plan as one DAG of DAGMan's.

- `site`: what a site wants said with each job;
- `submitting`: submit descriptions, and the script that a machine runs;
- `queue`: HTCondor as its command line shows it; `bindings`: as its Python bindings do, where there are any;
- `joblog`: the log that HTCondor writes of jobs, which says how they stand;
- `standing`: how one job stands, from its events, and what its end means;
- `framework`: the ExecutionFramework, which leaves all else to `executors.batch`;
- `dagfile`: the text of a DAG; `dag`: a plan as one, written, submitted and followed; `node`: what each of
  its jobs runs.
"""
