"""A PostgreSQL server for tests and benchmarks: one that is given, or one started for the purpose.

``$SUPERTASK_POSTGRES`` is the URL of a server on which schemas may be made and dropped. Without it a server
is started, if its programs are installed, with an empty folder for its data, on loopback, as an unprivileged
user (which PostgreSQL insists on), and removed after.
"""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from supertask.testing.ports import free_port

__all__ = ["Server", "find_programs", "server", "why_not"]

_VARIABLE = "SUPERTASK_POSTGRES"
_USERS = ("postgres", "nobody")


def find_programs() -> str | None:
    """Return the folder with ``initdb`` and ``pg_ctl``, of the newest version installed."""
    path = shutil.which("initdb")
    if path is not None:
        return os.path.dirname(os.path.realpath(path))
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb") + glob.glob("/usr/pgsql-*/bin/initdb")
    return os.path.dirname(max(found, key=lambda p: [int(x) for x in p if x.isdigit()])) if found else None


def why_not() -> str:
    """Return why there can be no server, or nothing if there can."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        return f"psycopg cannot be imported ({error}): pip install 'supertask[postgres]'"
    if os.environ.get(_VARIABLE) or find_programs():
        return ""
    return (
        f"no PostgreSQL: install it (on Debian: apt-get install postgresql), or give the URL of a server in "
        f"${_VARIABLE}"
    )


@attrs.define
class Server:
    """A server to test against."""

    url: str
    """``postgresql://user@host:port/database``."""
    folder: str = ""
    """Where its data are, if it was started here."""
    programs: str = ""

    def stop(self, how: str = "fast") -> None:
        """Stop the server, with whatever its clients are at; ``immediate`` as if its machine had failed."""
        self._control("-m", how, "stop")

    def start(self) -> None:
        """Start the server again."""
        address = self.url.rpartition("@")[2].partition("/")[0]
        host, _, port = address.partition(":")
        options = f"-c listen_addresses={host} -c port={port} -c unix_socket_directories="
        # Nothing in it has to outlive its machine.
        options += " -c fsync=off -c full_page_writes=off -c max_connections=60"
        self._control("-o", options, "-l", f"{self.folder}/log", "start")

    def _control(self, *arguments: str) -> None:
        run_as_user(
            [f"{self.programs}/pg_ctl", "-D", f"{self.folder}/data", "-w", "-s", *arguments], self.folder
        )


@contextmanager
def server() -> Iterator[Server]:
    """Give a server.

    Raises
    ------
    RuntimeError
        There can be none, or it does not start; says why.
    """
    given = os.environ.get(_VARIABLE)
    if given:
        yield Server(given)
        return
    programs = find_programs()
    if programs is None:
        raise RuntimeError(why_not())
    folder = tempfile.mkdtemp(prefix="supertask-postgres-")
    started = Server(f"postgresql://supertask@127.0.0.1:{free_port()}/postgres", folder, programs)
    try:
        user = _user()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        make = [f"{programs}/initdb", "-D", f"{folder}/data", "-U", "supertask", "-A", "trust", "-N"]
        run_as_user([*make, "-E", "UTF8", "--locale=C"], folder)
        for attempt in range(5):
            try:
                started.start()
                break
            except RuntimeError:
                if attempt == 4:
                    raise
                # Somebody else took the port meanwhile.
                time.sleep(0.2)
                started.url = f"postgresql://supertask@127.0.0.1:{free_port()}/postgres"
        try:
            yield started
        finally:
            if Path(folder, "data", "postmaster.pid").exists():
                started.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_as_user(command: Sequence[str], folder: str) -> None:
    """Run a program of the server's, as somebody who is not root.

    Raises
    ------
    RuntimeError
        It failed; with what it said.
    """
    user = _user()
    # What it leaves running must not hold our end of a pipe.
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(
            list(command),
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            check=False,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        )
        if done.returncode:
            said.seek(0)
            log = Path(folder, "log")
            more = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"{' '.join(command)} failed: {said.read()}{more}")


def _user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError(f"PostgreSQL does not run as root, and there is no user {' or '.join(_USERS)}")
