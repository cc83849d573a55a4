"""Jobs: bundles that run somewhere else, where there may be neither repository, database nor home folder.

A job is a folder that says all that one bundle needs, and in which all that came of it is found::

    JOB/
        bundle.json     quanta, tasks, unit model and path templates: no plan, and no HDF5, is needed to begin
        in/             inputs, where the repository cannot be seen
        <location>      outputs, as in a repository, where that cannot be seen
        .supertask/runs/<run>/journal/
                        what every attempt came to: the same files as in a repository
        .supertask/runs/<run>/quanta, .supertask/runs/<run>/jobs, .supertask/cache
                        as in a repository, where that cannot be seen; brought home
        done.json       written last: the exit code, and what was given back

- `folder`: the names above, and the exit codes;
- `bundlefile`: the plan of one bundle, read from its file;
- `packing`: makes the folder from plan, work and repository;
- `belongings`: what goes along and comes home beside inputs and outputs: folders of quanta, caches;
- `store`: the files as the job sees them;
- `running`: runs it, in a process that imports as little as it can;
- `pieces`: reads what came of it, also while it goes on;
- `gathering`: brings outputs home and merges the journal, as often as one likes.
"""
