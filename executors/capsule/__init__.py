"""Capsules: one quantum with all that it takes to do it again, somewhere else and years later.

A capsule is a folder, or a zip file of one::

    CAPSULE/
        README.md           what it is, and the two lines that run it
        capsule.json        size and checksum of every file, what made the outputs, and their checksums
        job/                the quantum packed as a job, inputs in it, see `executors.jobs`
        config.yaml         configuration of the task
        provenance.json     where the inputs came from
        log.txt             what was logged then
        code/               modules of the task that no installed distribution has
        outputs/            what was made then, if that was asked for

- `contents`: what is in ``capsule.json``, and how a capsule is opened and checked;
- `writing`: makes one;
- `running`: runs one, and compares what comes out with what came out then;
- `inside`: the process that it is run in.
"""
