"""What a new ExecutionFramework is tested with: a contract, and a survey whose quanta misbehave on command.

- `frameworks`: `FrameworkContract`, the situations that every framework must master, each a test; with
  those of `around`, about what surrounds calls, and their tasks (`calling`);
- `steered`: the pipeline, and what its quanta can be told to do;
- `survey`: a repository to run it on;
- `blind`: a batch framework whose jobs cannot see the repository, to hold the shared parts to it;
- `parslpool`: Parsl's workers in processes of their own; `leash` ends them with the test.

A third party's suite is three lines long::

    class TestOurFramework(FrameworkContract):
        def make(self, tmp_path):
            return OurFramework(…)
"""
