"""An HTCondor pool of one machine, for tests: the real daemons, started for the purpose.

``$SUPERTASK_CONDOR`` set to 1 says that a pool is there already and that the tests may use it. Without it one
is started from the tree that ``make condor`` makes (`executors.testing.condortree`), with all its state in
one folder, on loopback, and stopped after; it ends as well with the process that started it, however that
ends.

``python -m executors.testing.condor`` makes the tree.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from executors.testing import condortree
from supertask.testing.ports import free_port

__all__ = ["Pool", "pool", "why_not"]

_VARIABLE = "SUPERTASK_CONDOR"
_PATIENCE = 60.0
_TOOLS = (
    "condor_submit", "condor_submit_dag", "condor_q", "condor_history", "condor_rm", "condor_hold",
    "condor_release", "condor_vacate_job", "condor_status", "condor_restart",
)  # fmt: skip

_CONF = """\
RELEASE_DIR = /usr
LOCAL_DIR = {folder}
RUN = $(LOCAL_DIR)/run
LOG = $(LOCAL_DIR)/log
LOCK = $(LOCAL_DIR)/lock
SPOOL = $(LOCAL_DIR)/spool
EXECUTE = $(LOCAL_DIR)/execute
DAEMON_SOCKET_DIR = $(LOCAL_DIR)/sock
BIN = /usr/bin
SBIN = /usr/sbin
LIB = /usr/lib/condor
LIBEXEC = /usr/libexec/condor
SHARE = /usr/share/condor
use ROLE: Personal
use FEATURE: PartitionableSlot
CONDOR_HOST = 127.0.0.1
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
ENABLE_IPV6 = False
SHARED_PORT_PORT = {port}
COLLECTOR_HOST = 127.0.0.1:{port}
UID_DOMAIN = test
FILESYSTEM_DOMAIN = test
TRUST_UID_DOMAIN = True
SEC_DEFAULT_AUTHENTICATION = REQUIRED
SEC_DEFAULT_AUTHENTICATION_METHODS = FS
ALLOW_READ = {user}@test
ALLOW_WRITE = {user}@test
ALLOW_DAEMON = {user}@test
ALLOW_NEGOTIATOR = {user}@test
ALLOW_ADMINISTRATOR = {user}@test
BASE_CGROUP =
CGROUP_MEMORY_LIMIT_POLICY = none
DISCARD_SESSION_KEYRING_ON_STARTUP = False
NUM_CPUS = {cpus}
MEMORY = {memory}
START = TRUE
PREEMPT = FALSE
SUSPEND = FALSE
KILL = FALSE
NEGOTIATOR_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
NEGOTIATOR_MIN_INTERVAL = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
UPDATE_INTERVAL = 5
PERIODIC_EXPR_INTERVAL = 2
MACHINE_MAX_VACATE_TIME = 5
DAGMAN_USER_LOG_SCAN_INTERVAL = 1
DAGMAN_USE_DIRECT_SUBMIT = True
DAGMAN_USE_STRICT = 0
"""

_HOLD = """\
condor_master -f &
master=$!
read -r _  # until whoever started this lets go, or is gone
kill -QUIT $master
wait $master
"""

_TOOL = """\
#!/bin/sh
exec nsenter --target {pid} --mount --user --preserve-credentials --root --wdns="$PWD" \\
    /usr/bin/env PATH=/usr/bin:/usr/sbin CONDOR_CONFIG={folder}/condor_config /usr/bin/{name} "$@"
"""


def why_not() -> str:
    """Return why there can be no pool, or nothing if there can."""
    if os.environ.get(_VARIABLE):
        return ""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "no HTCondor: a pool for tests needs Linux and root"
    missing = condortree.missing_programs()
    if missing:
        return (
            f"no HTCondor: {', '.join(missing)} not found (on Debian: apt-get install debootstrap util-linux)"
        )
    if not condortree.is_built():
        return f"no HTCondor in {condortree.home()}: `make condor` puts it there, in a minute or two"
    return ""


@attrs.define
class Pool:
    """A pool to test against."""

    env: Mapping[str, str]
    """What programs of HTCondor's need in their environment to find it."""
    folder: str = ""
    """Where its state and logs are, if it was started here."""
    holder: subprocess.Popen[bytes] | None = None
    """The process whose end is the pool's."""

    def ask(self, name: str, *arguments: str) -> str:
        """Return what a program of HTCondor's prints, whatever its exit code."""
        path = shutil.which(name, path=self.env.get("PATH")) or name
        command: Sequence[str] = [path, *arguments]
        done = subprocess.run(
            command, env={**os.environ, **self.env}, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def logs(self) -> str:
        """Return the ends of its logs."""
        found = [
            f"-- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
            for path in sorted(Path(self.folder, "log").glob("*Log"))
        ]
        return "\n".join(found)

    def wait(self) -> None:
        """Wait until jobs can run.

        Raises
        ------
        RuntimeError
            It does not come up.
        """
        until = time.monotonic() + _PATIENCE
        said = ""
        while time.monotonic() < until:
            if self.holder is not None and self.holder.poll() is not None:
                break
            said = self.ask("condor_status", "-af", "Name") + self.ask("condor_q", "-af", "ClusterId")
            if said.startswith("slot") and len(said.splitlines()) == 1:
                return
            time.sleep(0.2)
        raise RuntimeError(f"HTCondor does not come up: {said}{self.logs()}")

    def restart(self) -> None:
        """End the daemon that keeps the queue, and wait for it to be back."""
        self.ask("condor_restart", "-fast", "-subsystem", "schedd")
        time.sleep(1.0)
        self.wait()

    def stop(self) -> None:
        """End jobs and daemons."""
        holder = self.holder
        if holder is None:
            return
        space = _space(holder.pid)
        self.ask("condor_rm", "-all")
        if holder.stdin is not None:
            holder.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            holder.wait(_PATIENCE)
        for pid in _inside(space):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        holder.wait(_PATIENCE)


def _space(pid: int) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/mnt")
    return ""


def _inside(space: str) -> list[int]:
    """Return the processes of a mount namespace, unless it is this process's own."""
    if not space or space == _space(os.getpid()):
        return []
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _space(int(p.name)) == space]


@contextmanager
def pool(cpus: int = 8, memory: int = 8192, seen: Sequence[Path] = ()) -> Iterator[Pool]:
    """Give a pool.

    Parameters
    ----------
    cpus : int, optional
        So many jobs of one CPU run at once; may be more than the machine has.
    memory : int, optional
        Megabytes that jobs may ask for in all.
    seen : sequence of path, optional
        Folders that jobs see, besides those with this software and temporary ones.

    Raises
    ------
    RuntimeError
        There can be none, or it does not start; says why.
    """
    if os.environ.get(_VARIABLE):
        yield Pool({})
        return
    if why_not():
        raise RuntimeError(why_not())
    # Not in the default place for temporary files: the path of a socket has to be short.
    folder = tempfile.mkdtemp(prefix="condor-", dir="/tmp")
    known = {
        "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}",
        "CONDOR_CONFIG": f"{folder}/condor_config",
    }
    made = Pool(known, folder)
    try:
        for name in ("bin", "execute", "lock", "log", "run", "sock", "spool"):
            Path(folder, name).mkdir()
        config = Path(folder, "condor_config")
        config.write_text(
            _CONF.format(folder=folder, port=free_port(), user=condortree.USER, cpus=cpus, memory=memory)
        )
        inside = {"PATH": "/usr/bin:/usr/sbin:/bin:/sbin", "CONDOR_CONFIG": str(config), "LANG": "C.UTF-8"}
        with Path(folder, "log", "holder.txt").open("wb") as said:
            made.holder = subprocess.Popen(
                condortree.entering(["sh", "-c", _HOLD], seen),
                env=inside,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        _write_tools(Path(folder), made.holder.pid)
        made.wait()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _write_tools(folder: Path, pid: int) -> None:
    for name in _TOOLS:
        tool = folder / "bin" / name
        tool.write_text(_TOOL.format(pid=pid, folder=folder, name=name))
        tool.chmod(0o755)


if __name__ == "__main__":
    started = time.monotonic()
    try:
        new = condortree.build()
    except RuntimeError as error:
        sys.exit(f"HTCondor for tests: {error}")
    said = f"made in {time.monotonic() - started:.0f} s" if new else "there already"
    print(f"HTCondor for tests: {condortree.home()} {said}")  # noqa: T201 - what it is called for
