"""Jobs: bundles that run somewhere else, where there may be neither repository, database nor home folder.

A job is a folder in which all that came of one bundle is found. All that the bundle needs is said in a file
in it, where it is carried to another machine or packed by hand; else in a part of a file that many share, and
the folder is made by the job::

    .sheaves/           bundles by the thousand, and which of them may begin
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
- `bundlefile`: the plan of one bundle, read from its file or its part of one;
- `sheaf`: the file of many, `sheafwriting` its other side; `slots`: which of its jobs may begin;
- `packing`: makes the folder of one from plan, work and repository; `stacking`: many, in sheaves;
- `belongings`: what goes along and comes home beside inputs and outputs: folders of quanta, caches;
- `store`: the files as the job sees them;
- `running`: runs it, in a process that imports as little as it can;
- `pieces`: reads what came of it, also while it goes on;
- `gathering`: brings outputs home and merges the journal, as often as one likes.
"""
