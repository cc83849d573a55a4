"""The command line: the top floor, which alone sees everything.

One module per command (`init`, `ingest`, `query`, …), each a `click` command that says what it does
with values from the packages below; `start` begins, `main` finds the command and turns errors into exit
codes; `terminal` writes tables, lines or JSON; `options` holds what several commands take alike; `progress`
shows a run as it goes; `framework` is the `CmdLineFramework`, both a preflight and an execution framework.

Nothing here is imported by anything but this package, and `main` imports a command's module only when
that command is called, so that ``supertask --help`` is quick.
"""

from __future__ import annotations
