"""What to do after a failure: of which class it is, and whether to try again. Decisions without I/O.

Retries are counted for each class of failure and within one session: who runs the same again wants every
quantum that failed to be tried. What a quantum learned to need of memory is kept in the journal, however.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import attrs

from supertask.configs.policy import FailureClass, FailurePolicy
from supertask.errors import BadInputError, DatasetNotFoundError, TransientError

__all__ = ["QuantumTimeout", "Retry", "Tried", "classify", "decide", "failures_allowed", "grown"]

_NUMBERS = frozenset(
    getattr(errno, name)
    for name in (
        "EAGAIN", "EBUSY", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "EINTR",
        "EIO", "ENETDOWN", "ENETRESET", "ENETUNREACH", "ENOLCK", "ENOTCONN", "EREMOTEIO", "ESTALE",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
)  # fmt: skip
"""Of errors that a network, a mount or another process may cause, and that pass."""


class QuantumTimeout(BaseException):
    """Raised in a task that takes too long; not an Exception, so that a task's own handlers let it pass."""


@attrs.frozen
class Tried:
    """An attempt that failed."""

    kind: FailureClass
    memory: int | None = None
    """Bytes that it might hold, None without a limit."""


@attrs.frozen
class Retry:
    """Try again."""

    delay: float
    """Seconds to wait before."""
    memory: int | None
    """Bytes that it may hold then, None without a limit."""


def classify(error: BaseException) -> FailureClass:
    """Return the class of a failure, given what was raised or what that came of."""
    for each in _chain(error):
        if isinstance(each, BadInputError | DatasetNotFoundError):
            return FailureClass.BAD_INPUT
        if isinstance(each, QuantumTimeout):
            return FailureClass.TIMEOUT
        if isinstance(each, MemoryError):
            return FailureClass.OUT_OF_MEMORY
        if isinstance(each, TransientError | ConnectionError | TimeoutError):
            return FailureClass.TRANSIENT
        if isinstance(each, OSError) and each.errno in _NUMBERS:
            return FailureClass.TRANSIENT
    return FailureClass.ERROR


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and what it was raised from, which its author said to be the cause."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__


def decide(
    policy: FailurePolicy, tried: Sequence[Tried], identity: bytes, *, machine: int | None = None
) -> Retry | None:
    """Say whether a quantum is tried again, and how.

    Parameters
    ----------
    policy : FailurePolicy
        Of its task.
    tried : sequence of Tried
        Its attempts in this session, all of which failed; the last one last.
    identity : bytes
        Of the quantum; by it waiting times are spread, alike in every run.
    machine : int, optional
        Bytes that the machine has.

    Returns
    -------
    Retry or None
        None where the failure is final.
    """
    last = tried[-1]
    count = sum(t.kind is last.kind for t in tried)
    if count > policy.retries.of(last.kind):
        return None
    memory = last.memory
    if last.kind is FailureClass.OUT_OF_MEMORY:
        memory = grown(policy, last.memory, machine=machine)
        if memory is None or memory == last.memory:
            return None  # it would run out again
        return Retry(0.0, memory)
    delay = min(policy.max_delay, policy.delay * 2.0 ** min(len(tried) - 1, 60))
    seed = blake2b(b"%d" % len(tried), key=identity, digest_size=4).digest()
    return Retry(delay * (0.5 + int.from_bytes(seed, "big") / 2**33), memory)


def grown(policy: FailurePolicy, memory: int | None, *, machine: int | None = None) -> int | None:
    """Return how many bytes a quantum may have after it ran out of so many; None without a limit."""
    if memory is None:
        return None
    caps = [cap for cap in (policy.memory_cap_bytes, machine) if cap is not None]
    return max(memory, min([int(memory * policy.memory_growth), *caps]))


def failures_allowed(share: float, quanta: int) -> int:
    """Return how many failures are too many, of a number (int) or a share (float) of some quanta."""
    return share if isinstance(share, int) else max(1, -int(-share * quanta // 1))
