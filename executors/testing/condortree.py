"""A Debian tree with HTCondor in it, for hosts whose own distribution has none; entered without a trace.

It is made once, in a folder of the cache (``$SUPERTASK_CONDOR_TREE`` names another), by ``make condor``,
which takes a minute or two. Whatever is mounted in it is mounted in a mount namespace of its own: no other
process sees it, and it is gone with the last one in there, however that ends. So the tree may be deleted at
any time.

Who enters is an ordinary user inside (root's files are that user's), for HTCondor runs no jobs of root's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["USER", "build", "entering", "home", "is_built", "missing_programs"]

USER = "jobs"
"""Who one is in there."""
_ID = 1000
_SUITE = "trixie"
_MIRROR = "http://deb.debian.org/debian"
_PROGRAMS = ("debootstrap", "unshare", "nsenter", "mount")
_PLACES = ("/usr/sbin", "/sbin", "/usr/local/sbin")
_STAMP = "etc/supertask-condor"
_VERSION = "1"

_INSTALL = """\
set -e
tree=$1
mount -t proc proc "$tree/proc"
printf '#!/bin/sh\\nexit 101\\n' >"$tree/usr/sbin/policy-rc.d"
chmod +x "$tree/usr/sbin/policy-rc.d"
echo force-unsafe-io >"$tree/etc/dpkg/dpkg.cfg.d/fast"
printf 'path-exclude=/usr/share/%s/*\\n' doc man locale >"$tree/etc/dpkg/dpkg.cfg.d/small"
cp /etc/resolv.conf "$tree/etc/resolv.conf"
DEBIAN_FRONTEND=noninteractive chroot "$tree" apt-get install -qq --no-install-recommends htcondor </dev/null
chroot "$tree" apt-get clean
"""

_ENTER = """\
set -e
tree=$1
shift
mount -t proc proc "$tree/proc"
mount --rbind /dev "$tree/dev"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir -p "$tree$1"; else mkdir -p "$tree$(dirname "$1")"; touch "$tree$1"; fi
    mount --rbind "$1" "$tree$1"
    shift
done
shift
user=$1
shift
exec unshare --user --map-user="$user" --map-group="$user" --root="$tree" --wd=/tmp "$@"
"""


def home() -> Path:
    """Return where the tree is, or would be."""
    named = os.environ.get("SUPERTASK_CONDOR_TREE")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(cache, "supertask", f"condor-{_SUITE}")


def missing_programs() -> list[str]:
    """Return the programs that are needed and not there."""
    return [name for name in _PROGRAMS if _program(name) is None]


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(_PLACES))


def is_built() -> bool:
    """Tell whether the tree is there, whole and of this version."""
    try:
        return (home() / _STAMP).read_text() == _VERSION
    except OSError:
        return False


def build() -> bool:
    """Make the tree, unless it is there; return whether it had to be made.

    Raises
    ------
    RuntimeError
        It cannot be made here; says why.
    """
    if is_built():
        return False
    missing = missing_programs()
    if missing:
        raise RuntimeError(
            f"{', '.join(missing)} not found (on Debian: apt-get install debootstrap util-linux)"
        )
    tree = home()
    tree.parent.mkdir(parents=True, exist_ok=True)
    with _locked(tree.with_name(f"{tree.name}.lock")):
        if is_built():
            return False
        part = tree.with_name(f"{tree.name}.part")
        for left in (part, tree):
            shutil.rmtree(left, ignore_errors=True)
        mirror = os.environ.get("SUPERTASK_DEBIAN_MIRROR", _MIRROR)
        _run(["debootstrap", "--variant=minbase", _SUITE, str(part), mirror])
        _run(["sh", "-c", _INSTALL, "install", str(part)])
        with (part / "etc/passwd").open("a") as file:
            file.write(f"{USER}:x:{_ID}:{_ID}::/tmp:/bin/sh\n")
        with (part / "etc/group").open("a") as file:
            file.write(f"{USER}:x:{_ID}:\n")
        (part / _STAMP).write_text(_VERSION)
        part.rename(tree)
    return True


def _run(command: Sequence[str]) -> None:
    """Run one step with mounts of its own."""
    own = ["unshare", "--mount", "--propagation", "private", "--", _program(command[0]) or command[0]]
    done = subprocess.run(
        [*own, *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} fails with {done.returncode}:\n{done.stdout[-3000:]}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def entering(command: Sequence[str], more: Iterable[str | Path] = ()) -> list[str]:
    """Return the words that run a command in the tree, with this Python and what it imports in their places.

    Parameters
    ----------
    command : sequence of str
        To be run in there.
    more : iterable of path, optional
        Further folders that are to be seen in there.
    """
    shown = [str(each) for each in dict.fromkeys(_shown([*_of_python(), tempfile.gettempdir(), *more]))]
    own = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", _ENTER, "enter", str(home())]
    return [*own, *shown, "--", str(_ID), *command]


def _of_python() -> list[str | Path]:
    here = Path(__file__).resolve().parents[2]
    found: list[str | Path] = ["/etc/hosts", "/etc/resolv.conf", "/tmp", here, Path.cwd(), sys.prefix]  # noqa: S108
    found += [p for p in sys.path if p.startswith("/")]
    return [*found, sys.base_prefix, Path(sys.executable).resolve()]


def _shown(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Give what is to be mounted for each path: whole top folders, but for those that the tree has itself."""
    own = {"usr", "bin", "sbin", "lib", "lib64", "etc", "var", "proc", "sys", "dev", "run"}
    named = [Path(path) for path in paths]
    for path in [*named, *(path.resolve() for path in named)]:  # links in there lead to where they do here
        parts = path.parts
        if len(parts) < 2 or parts[:] == ("/", "usr") or not path.exists():
            continue
        if parts[1] not in own:
            yield Path(*parts[:2])
        elif parts[1:3] == ("usr", "local"):
            yield Path("/usr/local")
        else:
            yield path
