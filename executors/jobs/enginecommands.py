"""What an engine is asked by its command line: found, run, and waited for where it is away for a moment."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs

from supertask.errors import ExecutionError

__all__ = ["EngineCommands", "NotInstalledError"]


class NotInstalledError(ExecutionError):
    """A command of an engine is not on this host."""


@attrs.frozen
class EngineCommands:
    """Runs the commands of an engine.

    Parameters
    ----------
    env : Mapping, optional
        Further environment variables, such as ``SLURM_CONF``.
    patience : float, optional
        Seconds to wait for an engine that does not answer.
    """

    env: Mapping[str, str] = attrs.field(factory=dict)
    patience: float = 60.0

    ENGINE: ClassVar[str]
    """Its name."""
    ASKED: ClassVar[str]
    """What of it answers."""
    ELSEWHERE: ClassVar[str]
    """Where a plan can be run whose engine is not on this host."""

    @staticmethod
    def said(done: subprocess.CompletedProcess[str]) -> str:
        """Return what a command said that failed."""
        return " ".join(done.stderr.split()) or f"exit code {done.returncode}"

    @staticmethod
    def is_away(said: str) -> bool:
        """Tell whether what a command said is that the engine cannot be reached."""
        raise NotImplementedError

    def ask(self, command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command until the engine has answered; its answer may be a refusal.

        Parameters
        ----------
        command : sequence of str
            Program and arguments.
        text : str, optional
            What the program reads.

        Raises
        ------
        ExecutionError
            The engine is not installed on this host, or cannot be reached.
        """
        path = shutil.which(command[0], path=self.env.get("PATH"))
        if path is None:
            raise NotInstalledError(
                f"{command[0]} was not found: {self.ENGINE} is not installed on this host; run the plan "
                f"{self.ELSEWHERE}, or in this process or a pool"
            )
        until, pause = time.monotonic() + self.patience, 0.1
        while True:
            try:
                done = subprocess.run(
                    [path, *command[1:]],
                    input=text,
                    env={**os.environ, **self.env},
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=max(self.patience, 1.0),
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise self._silent(f"no answer to {command[0]} within {self.patience:g} s") from None
            if not done.returncode or not self.is_away(said := self.said(done)):
                return done
            # One that is started anew is away for seconds. Nothing is submitted twice by this.
            if time.monotonic() + pause > until:
                raise self._silent(said)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _silent(self, why: str) -> ExecutionError:
        return ExecutionError(
            f"{self.ENGINE}'s {self.ASKED} cannot be reached: {why}; its jobs go on, and so does the run "
            "with the same command later"
        )
