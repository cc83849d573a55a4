"""The `supertask` command: finds the command that is asked for, and turns what happens to an exit code.

======  =====================================================================
code    meaning
======  =====================================================================
0       everything succeeded
1       some work failed, or the program itself did (the message tells which)
2       bad usage or input: nothing was begun that the message does not name
130     interrupted from the keyboard
141     whoever read the output went away
======  =====================================================================
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence

import click

from executors.cmdline import terminal
from executors.cmdline.options import Session
from supertask.errors import SuperTaskError, did_you_mean

__all__ = ["COMMANDS", "main", "supertask"]

OK, FAILED, BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141

# Command -> (module in this package, what `supertask --help` says of it), in the order of a first day's work.
# The words stand here so that help need not import eleven modules; a test holds them to the commands' own.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init", "Make a new data repository."),
    "ingest": ("ingest", "Bring FITS files into a repository."),
    "query": ("query", "Show what a repository holds."),
    "skymap": ("skymap", "Divide the sky into tracts and patches."),
    "relation": ("relation", "Relate units: load, check and recompute."),
    "pipeline": ("pipeline", "Look into a pipeline."),
    "config": ("config", "Look into the configs of a pipeline, and change them."),
    "preflight": ("preflight", "Work out the whole plan before anything runs."),
    "dag": ("dag", "Look into a plan."),
    "explain": ("explain", "Say why a quantum is in a plan, or is not; or how the plan came about."),
    "plan-diff": ("plan_diff", "Show what two plans do not share, and why."),
    "identity": ("identity", "Tell in what two identities part."),
    "batch": ("batch", "Merge quanta of a plan into bundles that run together."),
    "bundles": ("bundles", "Show bundles: what they hold, and how they stand."),
    "simulate": ("simulate", "Say what a plan would take somewhere, without running it."),
    "run": ("run", "Run a plan, or what is left of it."),
    "pack": ("pack", "Pack bundles of a plan that may run now, to be run by hand or by a batch system."),
    "run-bundle": ("run_bundle", "Run one bundle of a plan, as a job of a batch system does."),
    "dagman": ("dagman", "Write a plan as one DAG for HTCondor, and submit it."),
    "collect": ("collect", "Take what bundles made that ran without a driver, and register it."),
    "export": ("export", "Write a plan for make, Snakemake or a CWL runner, or as WfFormat."),
    "import-wfformat": ("import_wfformat", "Make a plan with simulated work of a workflow in WfFormat."),
    "status": ("status", "Show how a run stands, while it goes on or after."),
    "report": ("report", "Show what came of a run: what each task used, and each kind of failure."),
    "provenance": ("provenance", "Show where a dataset came from, and what was made of it."),
    "diff": ("diff", "Compare two runs: what made them, what they read, and how far their data differ."),
    "act": ("act", "Do what the tasks of a run offer to be done after it."),
    "rerun": ("rerun", "Run the quanta of a job's folder again."),
    "tag": ("tag", "Show or change the tags of a run."),
    "capsule": ("capsule", "Write one quantum of a run with all that it takes to run it elsewhere."),
    "run-capsule": ("run_capsule", "Run a capsule, and compare what comes out with what came out then."),
    "shell": ("shell", "Recreate a bundle or a quantum, to look into it or run it again aside."),
    "clean": ("clean", "Delete what killed runs left behind, intermediates, or whole runs."),
    "registry": ("registry", "Look after the database of a repository."),
    "demo": ("demo", "Simulate a small survey, or take real frames, and do everything with it."),
}


class _Commands(click.Group):
    """A group that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"executors.cmdline.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if not value:
        return
    from importlib import metadata

    try:
        terminal.line(f"supertask {metadata.version('supertask')}")
    except metadata.PackageNotFoundError:
        terminal.line("supertask, from a folder that is not installed")
    context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
              help="Show the version and exit.")  # fmt: skip
def supertask() -> None:
    """Science pipelines over large sets of data: say what the work is, plan it, run it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; the process's own unless given.

    Returns
    -------
    int
        The exit code.
    """
    session = Session()
    words = session.words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        sys.argv[0] = "supertask"  # what provenance records as the command
        warnings.showwarning = terminal.show_warning
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # not every place has UTF-8
    try:
        # Not through click's own main: it takes a closed pipe for a failure.
        with supertask.make_context("supertask", words, obj=session) as context:
            code = supertask.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        _refuse(error)
        return BAD_INPUT
    except (KeyboardInterrupt, click.Abort):
        terminal.error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except SuperTaskError as error:
        if session.debug:
            raise
        terminal.error(str(error))
        return BAD_INPUT
    except OSError as error:
        if session.debug:
            raise
        terminal.error(f"{_says(error)} (--debug shows where)")
        return BAD_INPUT
    except Exception as error:
        if session.debug:
            raise
        kept = terminal.keep_traceback(error)
        terminal.error(
            f"this should not have happened: {type(error).__name__}: {error}\n"
            f"The traceback is in {kept}; --debug shows it. Please report it with what you did."
        )
        return FAILED
    return code if isinstance(code, int) else OK


def _refuse(error: click.ClickException) -> None:
    """Say what is wrong with the words of a command line, after how it is to be written."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        terminal.note(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n")
    terminal.error(error.format_message())


def _says(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename is not None else reason
