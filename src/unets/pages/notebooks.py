"""A notebook: where it finds its data, and how it is executed."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from unets.config import DatasetConfig, load_dataset
from unets.ensemble.ensemble import read_ensemble
from unets.errors import InputError
from unets.store.fingerprint import read_metrics
from unets.store.paths import Project
from unets.store.runs import write_text
from unets.submission.kaggle.kernel import imitate_kernel
from unets.submission.submission import find_submission

DEMO = "studio"
IN_KERNEL = "06"  # the notebook that runs in a Kaggle kernel, here an imitated one


def open_project(environment: Mapping[str, str] | None = None) -> tuple[Project, DatasetConfig]:
    """Finds what a notebook shows, by the variables: COMPETITION (the demo's), INPUT and MODELS.

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
        raise InputError(f"A notebook must be opened within the repository. Received: `{Path.cwd()}`")
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
                read_metrics(project.run_dir(member.experiment, fold))
    except InputError as error:
        target = "demo" if project.competition == DEMO else "pipeline"
        received = str(error).partition(" Run `")[0]
        raise InputError(
            f"Notebooks need a finished pipeline of {project.competition}. Received: {received} Run `unets {target}`"
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
        raise InputError(
            f"`{folder}` must hold the notebooks {', '.join(unknown) or '01, ...'}. Received: {list(found)}"
        )
    return [path for number, path in found.items() if number in wanted or not wanted]


def execute_notebooks(
    project: Project, root: Path, wanted: Sequence[str], out_dir: Path | None, experiments: str
) -> Iterator[tuple[Path, float]]:
    """Executes notebooks of the repository, and yields where each lies now, and the seconds that it took.

    Args:
        project: what they show.
        root: the repository.
        wanted: their numbers; none is all.
        out_dir: where they go; None: those of the demo stay in place. A competition's images may not be passed on, so
            its copies lie in its models folder.
        experiments: names with commas; empty: those of the ensemble.

    Raises:
        InputError: there is none of a number, the pipeline is not finished, or a cell failed.
    """
    folder = root / "notebooks"
    paths = list_notebooks(folder, wanted)
    check_finished(project)
    out_dir = out_dir or (folder if project.competition == DEMO else project.models_dir / "notebooks")
    given = {"COMPETITION": project.competition, "EXP": experiments}
    for name, path in {"INPUT": project.input_dir, "MODELS": project.models_dir}.items():
        given[name] = os.path.relpath(path, root)
    for path in paths:
        began, working_dir = time.monotonic(), folder
        with TemporaryDirectory() as temporary:
            if path.name.startswith(IN_KERNEL):
                attached_dir, working_dir = imitate_kernel(project, Path(temporary))
                given |= {"KAGGLE_INPUT": os.path.relpath(attached_dir, working_dir), "KAGGLE_WORKING": "."}
            execute_notebook(path, out_dir / path.name, working_dir=working_dir, environment=given)
        yield out_dir / path.name, time.monotonic() - began


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
    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise InputError(
            f"`{path}` must be a notebook of format 4. Received: {type(error).__name__}: {error}"
        ) from error
    with TemporaryDirectory() as folder:
        config = Config()
        # By sockets that are files: others on this host could read those of TCP.
        config.KernelManager.transport, config.KernelManager.connection_file = "ipc", f"{folder}/kernel.json"
        client = NotebookClient(
            notebook,
            kernel_name="python3",
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
            raise InputError(f"`{path.name}`, {_describe_failure(notebook.cells, error)}") from error
    notebook.metadata = {"kernelspec": notebook.metadata.get("kernelspec", {}), "language_info": {"name": "python"}}
    write_text(out_path, nbformat.writes(notebook) + "\n")


def _describe_failure(cells: Sequence[Mapping[str, object]], error: Exception) -> str:
    """Says which cell failed: its number among all, its first line, and the error's last word."""
    for index, cell in enumerate(cells, start=1):
        for output in cell.get("outputs", ()):  # type: ignore[attr-defined]
            if output["output_type"] == "error":
                first = str(cell["source"]).partition("\n")[0]
                return f"cell {index} (`{first}`): {output['ename']}: {output['evalue']}"
    return f"a cell did not end: {type(error).__name__}: {error}"
