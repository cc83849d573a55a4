"""Tells a command or a web address when quanta fail and when the run ends.

What is told is a JSON object::

    {"event": "failed", "run": "u/me/run1", "time": "2026-01-05T03:12:44Z", "host": "…",
     "task": "isr", "dataId": {"visit": 42}, "exception": "ValueError", "message": "…", "attempt": 1}
    {"event": "ended", "run": "u/me/run1", …, "exit_code": 1, "interrupted": false, "wall": 812.4,
     "counts": {"succeeded": 812, "failed": 3}, "failures": [{"task": …, "exception": …, "count": 3}]}
    {"event": "broken off", "run": "u/me/run1", …, "message": "the journal cannot be written: …"}

A command, a list of words that no shell sees, gets it on its standard input, and as environment variables
``SUPERTASK_EVENT``, ``SUPERTASK_RUN`` and ``SUPERTASK_EXIT_CODE`` (the latter at the end alone). An address
gets it as the body of an HTTP POST.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import attrs

from executors.events import Event, QuantumEnded, RunFinished, RunStarted
from executors.journal.report import Report
from executors.outcome import Attempt, QuantumStatus
from supertask.errors import ExecutionError

__all__ = ["CommandTarget", "Notifier", "Target", "UrlTarget"]

_log = logging.getLogger(__name__)
_FIRST = 3
_TEXT = 2000
_GROUPS = 10


@attrs.frozen
class CommandTarget:
    """A program that is started for each message.

    Raises
    ------
    ExecutionError
        There are no words.
    """

    words: tuple[str, ...]
    """The program and its arguments."""

    def __attrs_post_init__(self) -> None:
        if not self.words or not self.words[0]:
            raise ExecutionError("a notification's command is a list of words, and this one has none")

    def __str__(self) -> str:
        return f"command {self.words[0]!r}"

    def send(self, message: dict[str, Any], seconds: float) -> None:
        """Start it and wait; when it takes too long, end it and all that it started."""
        environment = {
            **os.environ,
            "SUPERTASK_EVENT": message["event"],
            "SUPERTASK_RUN": message["run"],
            **({"SUPERTASK_EXIT_CODE": str(message["exit_code"])} if "exit_code" in message else {}),
        }
        process = subprocess.Popen(
            self.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        try:
            process.communicate(json.dumps(message).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"it took more than {seconds:g} s and was ended") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            raise OSError(f"it ended with exit code {process.returncode}")


@attrs.frozen
class UrlTarget:
    """A web address that gets each message by HTTP POST.

    Raises
    ------
    ExecutionError
        It is not an address of HTTP or HTTPS.
    """

    url: str

    def __attrs_post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ExecutionError(
                f"{self.url!r} cannot be notified: it is not an address like https://host/path"
            )

    def __str__(self) -> str:
        return f"address {urlsplit(self.url).hostname}"  # what follows the host may be a secret

    def send(self, message: dict[str, Any], seconds: float) -> None:
        """Post it."""
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
            self.url, json.dumps(message).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310 - as above
            answer.read(1024)


Target = CommandTarget | UrlTarget


class Notifier:
    """Sends messages; to be entered around a run, and given to it as a listener.

    Parameters
    ----------
    targets : sequence of CommandTarget or UrlTarget
        Who is told.
    failures : int, optional
        How many failures are told one by one; the rest is in the message at the end.
    end : bool, optional
        Whether to tell the end.
    timeout : float, optional
        Seconds that one message to one target may take.
    patience : float, optional
        Seconds that the end of a run waits at most for what is still to be sent.

    Notes
    -----
    Messages are sent by a thread. What cannot be sent is logged, and is in `problems`.
    """

    inline = True

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        failures: int = _FIRST,
        end: bool = True,
        timeout: float = 10.0,
        patience: float = 15.0,
    ) -> None:
        self._targets = tuple(targets)
        self._most = failures
        self._end = end
        self._timeout = timeout
        self._patience = patience
        self._run = ""
        self._failed = 0
        self._open = False
        self._queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.problems: list[str] = []
        """What could not be sent, and why."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open and error is not None and self._end:
            self._say("broken off", message=f"{type(error).__name__}: {error}"[:_TEXT])
        self.close()

    def close(self) -> None:
        """Wait until all is sent, some seconds at most."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(self._patience)
            if self._thread.is_alive():
                self._trouble(f"not all notifications were sent within {self._patience:g} s")
            self._thread = None

    def __call__(self, event: Event, /) -> None:
        """Take note of an event."""
        if isinstance(event, QuantumEnded):
            if event.attempt.status is QuantumStatus.FAILED and event.retry_in is None:
                self._failed += 1
                if self._failed <= self._most:
                    self._say_failed(event.attempt)
        elif isinstance(event, RunStarted):
            self._run, self._failed, self._open = event.run, 0, True
        elif isinstance(event, RunFinished):
            self._open = False
            if self._end:
                self._say_ended(event.report)

    def _say_failed(self, attempt: Attempt) -> None:
        failure = attempt.failure
        self._say(
            "failed",
            task=attempt.label,
            dataId=dict(attempt.dataId or {}),
            attempt=attempt.number,
            exception=failure.exception if failure else "",
            message=(failure.message if failure else "")[:_TEXT],
            last=self._failed == self._most,
        )

    def _say_ended(self, report: Report) -> None:
        groups = [
            {"task": f.label, "exception": f.exception, "message": f.message[:_TEXT], "count": f.count}
            for f in report.failures[:_GROUPS]
        ]
        self._say(
            "ended",
            exit_code=report.exit_code,
            interrupted=report.interrupted,
            wall=round(report.wall, 3),
            counts={s.value: n for s, n in report.counts.items()},
            failures=groups,
        )

    def _say(self, event: str, **more: Any) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._queue.put({"event": event, "run": self._run, "time": now, "host": socket.gethostname(), **more})
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_all, name="supertask-notify", daemon=True)
            self._thread.start()

    def _send_all(self) -> None:
        while (message := self._queue.get()) is not None:
            for target in self._targets:
                try:
                    target.send(message, self._timeout)
                except Exception as error:  # noqa: BLE001 - who cannot be told must hurt nothing
                    self._trouble(f"{target} could not be notified: {type(error).__name__}: {error}")

    def _trouble(self, said: str) -> None:
        self.problems.append(said)
        _log.warning(said)
