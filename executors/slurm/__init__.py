"""Run bundles as jobs of Slurm.

- `site`: what a site wants said with each job: partition, account, how its environment is set up;
- `controller`: Slurm as its command line shows it, states and reasons;
- `framework`: the ExecutionFramework, which submits arrays of jobs and leaves all else to `executors.batch`.
"""
