"""A Slurm cluster of one machine, for tests: the real controller and daemon, started for the purpose.

``$SUPERTASK_SLURM`` set to 1 says that a cluster is there already and that the tests may use it. Without it
one is started, if its programs are installed, with all its state in one folder, on loopback, by and for the
user who calls, and stopped after. It needs neither systemd nor control groups. Where MariaDB and slurmdbd are
installed it may have accounting (``sacct``), in a database that listens on a socket in the same folder.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from executors.host.processes import is_alive
from supertask.testing.ports import free_port

__all__ = ["Cluster", "cluster", "why_no_accounting", "why_not"]

_VARIABLE = "SUPERTASK_SLURM"
_PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/sbin")
_PATIENCE = 30.0

_CONF = """\
ClusterName=supertask
SlurmctldHost=localhost
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
{accounting}
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/completed.txt
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1,default_queue_depth=1000
DependencyParameters=kill_invalid_depend
ReturnToService=2
KillWait=2
MinJobAge=86400
MaxArraySize=100001
MaxJobCount=200000
InactiveLimit=0
SlurmctldTimeout=30
SlurmdTimeout=30
PropagateResourceLimits=NONE
NodeName=localhost NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP DefMemPerCPU=256
PartitionName=short Nodes=localhost MaxTime=1 State=UP DefMemPerCPU=256
PartitionName=urgent Nodes=localhost MaxTime=INFINITE State=UP DefMemPerCPU=256 PriorityTier=10
"""


_NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations,limits,qos
AccountingStoragePort={port}"""

_KEEPER = """\
DbdHost=localhost
DbdPort={port}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=accounts
"""
_FOR_ACCOUNTING = ("mariadbd", "mariadb-install-db", "slurmdbd", "sacctmgr", "sacct")


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(_PLACES))


def _missing(what: str, programs: Sequence[str], packages: str) -> str:
    missing = ", ".join(name for name in programs if _program(name) is None)
    way = f"install it (on Debian: apt-get install {packages})"
    return f"no {what} ({missing} not found): {way}" if missing else ""


def why_not() -> str:
    """Return why there can be no cluster, or nothing if there can."""
    if os.environ.get(_VARIABLE):
        return ""
    return _missing("Slurm", _PROGRAMS, "slurm-wlm munge")


def why_no_accounting() -> str:
    """Return why a cluster can have no accounting, or nothing if it can."""
    if os.environ.get(_VARIABLE):
        return "the cluster that is there has what accounting it has"
    return _missing("accounting", _FOR_ACCOUNTING, "slurmdbd mariadb-server-core") or why_not()


@attrs.define
class Cluster:
    """A cluster to test against."""

    env: Mapping[str, str]
    """What programs of Slurm's need in their environment to find it."""
    folder: str = ""
    """Where its state and logs are, if it was started here."""
    database: subprocess.Popen[bytes] | None = None
    """That of its accounting."""

    def logs(self) -> str:
        """Return the ends of its logs."""
        found = []
        for name in ("munged.log", "mariadbd.log", "slurmdbd.log", "slurmctld.log", "slurmd.log"):
            path = Path(self.folder, name)
            if path.exists():
                found.append(f"-- {name}\n{path.read_text(errors='replace')[-2000:]}")
        return "\n".join(found)

    def restart(self) -> None:
        """End the controller and start it again; it finds its state, which it saves when it is told to end.

        Killed outright it may forget a job that has just begun, begin it anew, and drain the node for it.
        """
        _end(Path(self.folder, "slurmctld.pid"), signal.SIGTERM)
        self.start("slurmctld")
        self.wait()

    def start(self, name: str, *arguments: str) -> None:
        """Start one of its daemons, which goes on in the background.

        Raises
        ------
        RuntimeError
            It does not start; with what it said.
        """
        path = _program(name) or name
        done = subprocess.run(
            [path, *arguments],
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{name} does not start: {done.stdout}{self.logs()}")

    def wait(self) -> None:
        """Wait until jobs can run.

        Raises
        ------
        RuntimeError
            The node does not come up.
        """
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if self.ask("sinfo", "--noheader", "--format=%T", "--partition=main").strip() == "idle":
                return
            time.sleep(0.1)
        raise RuntimeError(f"the node does not come up: {self.ask('scontrol', 'show', 'node')}{self.logs()}")

    def ask(self, name: str, *arguments: str) -> str:
        """Return what a program of Slurm's prints, whatever its exit code."""
        command: Sequence[str] = [_program(name) or name, *arguments]
        done = subprocess.run(
            command, env={**os.environ, **self.env}, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def stop(self) -> None:
        """End jobs and daemons."""
        self.ask("scancel", "--user", getpass.getuser())
        for name in ("slurmd.pid", "slurmctld.pid", "slurmdbd.pid", "munged.pid"):
            _end(Path(self.folder, name), signal.SIGTERM)
        if self.database is not None:
            self.database.terminate()
            self.database.wait(_PATIENCE)

    def keep_accounts(self) -> None:
        """Start the accounting, and its database.

        The user who calls has an account ``survey``, and one that lets no job in, ``spent``.

        Raises
        ------
        RuntimeError
            It does not start.
        """
        data, socket = f"{self.folder}/accounts", Path(self.folder, "mariadbd.socket")
        us = f"--user={getpass.getuser()}"
        plain = "--auth-root-authentication-method=normal"
        self.start("mariadb-install-db", "--no-defaults", f"--datadir={data}", us, plain, "--skip-test-db")
        with Path(self.folder, "mariadbd.log").open("wb") as log:
            self.database = subprocess.Popen(
                [
                    _program("mariadbd") or "mariadbd",
                    "--no-defaults",
                    "--skip-networking",
                    "--innodb-flush-log-at-trx-commit=0",
                    f"--datadir={data}",
                    f"--socket={socket}",
                    us,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _wait_until(socket.exists, lambda: f"the database does not start: {self.logs()}")
        self.env = {**self.env, "MYSQL_UNIX_PORT": str(socket)}
        self.start("slurmdbd")
        _wait_until(
            lambda: "supertask" in self.ask("sacctmgr", "--immediate", "add", "cluster", "supertask"),
            lambda: f"the accounting does not answer: {self.logs()}",
        )
        user = getpass.getuser()
        self.ask("sacctmgr", "--immediate", "add", "account", "survey")
        self.ask("sacctmgr", "--immediate", "add", "account", "spent", "MaxSubmitJobs=0")
        self.ask(
            "sacctmgr", "--immediate", "add", "user", user, "account=survey,spent", "defaultaccount=survey"
        )


def _wait_until(true: Callable[[], bool], why: Callable[[], str]) -> None:
    until = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > until:
            raise RuntimeError(why())
        time.sleep(0.1)


@contextmanager
def cluster(cpus: int = 4, memory: int = 4096, *, accounting: bool = False) -> Iterator[Cluster]:
    """Give a cluster.

    Parameters
    ----------
    cpus : int, optional
        So many jobs of one CPU run at once; may be more than the machine has.
    memory : int, optional
        Megabytes that jobs may ask for in all.
    accounting : bool, optional
        Whether there is ``sacct``.

    Raises
    ------
    RuntimeError
        There can be none, or it does not start; says why.
    """
    if os.environ.get(_VARIABLE):
        yield Cluster({})
        return
    if why_not():
        raise RuntimeError(why_not())
    # Not in the default place for temporary files: the path of a socket has to be short.
    folder = tempfile.mkdtemp(prefix="slurm-", dir="/tmp")
    made = Cluster({"SLURM_CONF": f"{folder}/slurm.conf"}, folder)
    try:
        for name in ("state", "spool", "seed"):
            Path(folder, name).mkdir()
        keeper = free_port()
        Path(folder, "slurmdbd.conf").write_text(
            _KEEPER.format(port=keeper, user=getpass.getuser(), folder=folder)
        )
        Path(folder, "slurmdbd.conf").chmod(0o600)
        Path(folder, "slurm.conf").write_text(
            _CONF.format(
                controller=free_port(),
                daemon=free_port(),
                user=getpass.getuser(),
                folder=folder,
                cpus=cpus,
                memory=memory,
                accounting=_ACCOUNTING.format(port=keeper, folder=folder) if accounting else _NO_ACCOUNTING,
            )
        )
        made.start("mungekey", "--create", f"--keyfile={folder}/munge.key")
        made.start(
            "munged",
            "--force",
            f"--socket={folder}/munge.socket",
            f"--key-file={folder}/munge.key",
            f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/seed/munge.seed",
        )
        if accounting:
            made.keep_accounts()
        made.start("slurmctld")
        made.start("slurmd", "-N", "localhost")
        made.wait()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _end(pid_file: Path, how: signal.Signals) -> None:
    """End the process that a file names, and wait until it is gone."""
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        if not is_alive(pid):  # a dead one may stay listed, where nobody reads how it ended
            break
        time.sleep(0.02)
    pid_file.unlink(missing_ok=True)
