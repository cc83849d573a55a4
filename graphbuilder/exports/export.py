"""Writes a plan for another tool, into a folder."""

from __future__ import annotations

from pathlib import Path

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.exports import cwl, makefile, snakemake, wfformat
from graphbuilder.exports.nodes import nodes_of
from supertask.errors import PreflightError, did_you_mean

__all__ = ["FORMATS", "export"]

FORMATS = ("cwl", "makefile", "snakemake", "wfformat")


def export(dag: ScienceDag, form: str, folder: str | Path) -> list[Path]:
    """Write a plan for another tool.

    Parameters
    ----------
    dag : ScienceDag
        The plan. But for ``wfformat`` it must have bundles; the last ones made are taken.
    form : str
        One of `FORMATS`.
    folder : path
        Where to write; made if it is not there. Files of the same names are replaced.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    PreflightError
        There is no such format, the plan has no bundles, or the folder cannot be written.
    """
    if form not in FORMATS:
        raise PreflightError(
            f"there is no export {form!r}{did_you_mean(form, FORMATS)}; there are {', '.join(FORMATS)}"
        )
    bundling = dag.bundling()
    if bundling is None and form != "wfformat":
        raise PreflightError(
            "the plan has no bundles, and each node of an export runs one: make some with `supertask batch`"
        )
    home = Path(folder).absolute()
    title = f"Plan of {dag.meta.output_run}, {dag.n_quanta} quanta, written by supertask export"
    if form == "wfformat":
        texts = wfformat.files(dag, bundling, dag.meta.output_run)
    else:
        nodes = nodes_of(dag, bundling)
        if form == "makefile":
            texts = makefile.files(nodes, title)
        elif form == "snakemake":
            texts = snakemake.files(nodes, title)
        else:
            texts = cwl.files(nodes, title, home / "plan.h5")
    try:
        home.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (home / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise PreflightError(f"{home} cannot be written: {error.strerror or error}") from None
    if form != "wfformat":
        # Nodes are numbers of bundles: a plan that is batched anew has others.
        dag.save(home / "plan.h5")
        texts["plan.h5"] = ""
    return [home / name for name in texts]
