"""A notebook: where it finds its data, how it is executed, and what is kept of that.

Executed again on the same data, a notebook has the same bytes, measured times apart: what Jupyter notes besides code
and outputs (times, random ids, the kernel's version) is dropped, so that a diff shows what changed.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from unets.config import DatasetConfig, load_dataset
from unets.ensemble.ensemble import read_ensemble
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import read_json, write_text
from unets.submission.submission import find_submission

DEMO = "studio"
MAX_OUTPUT_BYTES = 1_000_000
_KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
_KEPT_OF_OUTPUT = {
    "stream": ("name", "text"),
    "display_data": ("data",),
    "execute_result": ("data",),
    "error": ("ename", "evalue", "traceback"),
}

Cell = dict[str, Any]
Notebook = dict[str, Any]


def open_project(environment: Mapping[str, str] | None = None) -> tuple[Project, DatasetConfig]:
    """Finds what a notebook shows, by the variables that `make` has: COMPETITION (the demo's), INPUT and MODELS.

    Args:
        environment: where these variables stand; None is the process's.

    Returns:
        (folders, dataset); paths are relative to the working folder, which is the repository or lies within.

    Raises:
        InputError: the working folder lies elsewhere, or there is no such competition.
    """
    given = os.environ if environment is None else environment
    root = next((folder for folder in (Path(), Path(".."), Path("../..")) if (folder / "configs").is_dir()), None)
    if root is None:
        raise InputError(f"Notebooks must be opened within the repository. Received: {Path.cwd()}")
    folders = {name: root / given[name.upper()] for name in ("input", "models") if given.get(name.upper())}
    project = Project.below(
        root, given.get("COMPETITION") or DEMO, input_dir=folders.get("input"), models_dir=folders.get("models")
    )
    return project, load_dataset(project.configs_dir)


def check_finished(project: Project) -> None:
    """Checks that a pipeline has run to its end, as notebooks show what it made.

    Raises:
        InputError: it has not; names the command that does it.
    """
    try:
        ensemble = read_ensemble(project)
        find_submission(project)
        for member in ensemble.members:
            for fold in ensemble.folds:
                read_json(project.run_dir(member.experiment, fold) / "metrics.json")
    except InputError as error:
        target = "demo" if project.competition == DEMO else "pipeline"
        received = str(error).partition(" Run `")[0]
        raise InputError(
            f"Notebooks need a finished pipeline of {project.competition}. Received: {received} Run `make {target}`"
        ) from error


def list_notebooks(folder: Path, wanted: Sequence[str] = ()) -> list[Path]:
    """Lists the notebooks of a folder by their numbers.

    Args:
        folder: where they are.
        wanted: the numbers of some, as `04`; none is all.

    Raises:
        InputError: there is none of a number.
    """
    found = {path.name.partition("_")[0]: path for path in sorted(folder.glob("[0-9]*.ipynb"))}
    unknown = [number for number in wanted if number not in found]
    if unknown or not found:
        raise InputError(f"{folder} must hold the notebooks {', '.join(unknown) or '01, ...'}. Received: {list(found)}")
    return [path for number, path in found.items() if number in wanted or not wanted]


def execute_notebook(
    path: Path, out_path: Path, *, working_dir: Path, environment: Mapping[str, str], timeout_s: int = 3600
) -> None:
    """Executes a notebook in a kernel of its own and writes it, with its outputs, if no cell fails.

    Args:
        path: the notebook; read only, unless it is `out_path` too.
        out_path: where it goes.
        working_dir: the kernel's.
        environment: variables that the kernel gets beside those of this process.
        timeout_s: seconds that a cell may take.

    Raises:
        InputError: it is no notebook, or a cell failed: names it, with the error; or what executes it is not installed.
    """
    try:
        import matplotlib.font_manager  # noqa: F401  # its cache, which it talks about when it makes it, is there then
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
        from traitlets.config import Config
    except ImportError as error:
        raise InputError(f"Notebooks need `pip install 'unets[notebooks]'`. Received: {error}") from error
    notebook = nbformat.reads(to_text(normalize(read_notebook(path), keep_outputs=False)), as_version=4)
    with TemporaryDirectory() as folder:
        config = Config()
        # By sockets that are files: others on this host could read those of TCP.
        config.KernelManager.transport, config.KernelManager.connection_file = "ipc", f"{folder}/kernel.json"
        client = NotebookClient(
            notebook,
            kernel_name=_KERNELSPEC["name"],
            timeout=timeout_s,
            record_timing=False,
            resources={"metadata": {"path": str(working_dir)}},
            config=config,
        )
        own = {
            "IPYTHONDIR": folder,  # a profile of the user's could change what is shown
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        try:
            client.execute(env={**os.environ, **own, **environment})
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise InputError(f"{path.name}, {_describe_failure(notebook['cells'], error)}") from error
    write_text(out_path, to_text(normalize(notebook, executed=hash_code(notebook))))


def read_notebook(path: Path) -> Notebook:
    """Reads a notebook of format 4.

    Raises:
        InputError: it is missing, or something else.
    """
    notebook = read_json(path)
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4 or not isinstance(notebook.get("cells"), list):
        raise InputError(f"{path} must be a notebook of format 4. Received: something else")
    return notebook


def normalize(notebook: Notebook, *, keep_outputs: bool = True, executed: str | None = None) -> Notebook:
    """Returns a notebook with all that changes from one execution to the next left out.

    Cells are named by their text, so that a new cell changes no other's name, and are numbered in their order.

    Args:
        notebook: as JSON has it; not written to.
        keep_outputs: whether to keep the outputs.
        executed: `hash_code` of what made the outputs; None keeps what the notebook says of it.
    """
    seen: dict[str, int] = {}
    cells, number = [], 0
    for cell in notebook["cells"]:
        text = _join(cell["source"])
        name = hashlib.sha256(f"{cell['cell_type']}\n{text}".encode()).hexdigest()[:8]
        seen[name] = seen.get(name, 0) + 1
        kept: Cell = {
            "cell_type": cell["cell_type"],
            "id": name if seen[name] == 1 else f"{name}-{seen[name]}",
            "metadata": {},
            "source": text.splitlines(keepends=True),
        }
        if cell["cell_type"] == "code":
            number += 1
            kept["outputs"] = _normalize_outputs(cell["outputs"], number) if keep_outputs else []
            kept["execution_count"] = number if keep_outputs else None
        cells.append(kept)
    noted = executed or notebook.get("metadata", {}).get("unets", {}).get("executed")
    metadata = {"kernelspec": _KERNELSPEC, "language_info": {"name": "python"}}
    if keep_outputs and noted:
        metadata["unets"] = {"executed": noted}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def hash_code(notebook: Notebook) -> str:
    """Returns 16 hex digits that change when the code of any cell does."""
    code = [_join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]


def to_text(notebook: Notebook) -> str:
    """Writes a notebook as Jupyter does, so that saving it there changes no line."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _normalize_outputs(outputs: Sequence[Mapping[str, Any]], number: int) -> list[dict[str, Any]]:
    normalized: list[dict[str, Any]] = []
    for output in outputs:
        kind = output["output_type"]
        kept = {key: output[key] for key in _KEPT_OF_OUTPUT[kind]}
        if kind == "stream":
            # How many pieces a text comes in depends on when the kernel sent them.
            last = normalized[-1] if normalized else {}
            if last.get("output_type") == "stream" and last["name"] == kept["name"]:
                last["text"] = (_join(last["text"]) + _join(kept["text"])).splitlines(keepends=True)
                continue
            kept["text"] = _join(kept["text"]).splitlines(keepends=True)
        elif "data" in kept:
            kept |= {"data": {kind_: _lay_out(kind_, data) for kind_, data in kept["data"].items()}, "metadata": {}}
        if kind == "execute_result":
            kept["execution_count"] = number
        normalized.append({"output_type": kind, **kept})
    return normalized


def _lay_out(kind: str, data: Any) -> Any:
    """Returns text as lines and a picture as one, as Jupyter writes them."""
    if kind.startswith("image/") and kind != "image/svg+xml":
        return "".join(_join(data).split())
    return _join(data).splitlines(keepends=True) if isinstance(data, str | list) else data


def _join(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _describe_failure(cells: Sequence[Cell], error: Exception) -> str:
    """Says which cell failed: its number among all, its first line, and the error's last word."""
    for index, cell in enumerate(cells, start=1):
        for output in cell.get("outputs", ()):
            if output["output_type"] == "error":
                first = _join(cell["source"]).partition("\n")[0]
                return f"cell {index} (`{first}`): {output['ename']}: {output['evalue']}"
    return f"a cell did not end: {type(error).__name__}: {error}"
