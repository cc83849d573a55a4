"""Captures what a task logs while it runs a quantum."""

from __future__ import annotations

import logging
import time

__all__ = ["LogCapture"]

_LEVEL = logging.INFO


class LogCapture(logging.Handler):
    """Keeps the records of one logger and those below it as lines of text.

    Records from INFO on are kept, whatever level the program shows; on to the program's own handlers go those
    that would have gone there anyway. It listens from construction until `close`.

    Parameters
    ----------
    logger : logging.Logger
        Whose records to keep.
    limit : int, optional
        Characters to keep at most: the first half of what was logged, and the last.
    """

    def __init__(self, logger: logging.Logger, limit: int = 1 << 16) -> None:
        super().__init__()
        words = "%(asctime)s %(levelname)s %(name)s%(dataId)s: %(message)s"
        formatter = logging.Formatter(words, "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)
        self._half = limit // 2
        self._logger = logger
        self._before = (logger.level, logger.propagate)
        self._shown = logger.getEffectiveLevel() if logger.propagate else logging.CRITICAL + 1
        self.begin()
        logger.addHandler(self)
        logger.propagate = False
        if self._shown > _LEVEL:
            logger.setLevel(_LEVEL)

    def begin(self, context: object = "") -> None:
        """Forget what was logged so far; from now on records are of the data ID `context`."""
        self._context = context
        self._head: list[str] = []
        self._tail: list[str] = []
        self._room, self._size, self._dropped = self._half, 0, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record, and give it the data ID as an attribute, for whoever formats it further on."""
        record.dataId = f" {self._context}" if self._context else ""
        try:
            line = self.format(record)[: self._half]
        except Exception as error:  # noqa: BLE001 - a bad format string is no reason to lose a quantum
            line = f"{record.levelname} {record.name}: {record.msg!r} cannot be formatted: {error}"
        if self._room > len(line):
            self._room -= len(line) + 1
            self._head.append(line)
        else:
            self._room = 0
            self._tail.append(line)
            self._size += len(line) + 1
            while self._size > self._half and len(self._tail) > 1:
                self._size -= len(self._tail.pop(0)) + 1
                self._dropped += 1
        if record.levelno >= self._shown and self._logger.parent is not None:
            self._logger.parent.callHandlers(record)

    @property
    def text(self) -> str:
        """What was logged since `begin`."""
        if not self._head and not self._tail:
            return ""
        between = [f"… {self._dropped} lines left out …"] if self._dropped else []
        return "\n".join([*self._head, *between, *self._tail]) + "\n"

    def close(self) -> None:
        """Listen no more, and leave the logger as it was found."""
        self._logger.removeHandler(self)
        level, self._logger.propagate = self._before
        self._logger.setLevel(level)
        super().close()
