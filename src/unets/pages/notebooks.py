"""A notebook: where it finds its data, and how it is executed."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from unets.config import DatasetConfig, load_dataset
from unets.errors import DECODER_FAULTS, InputError, naming
from unets.store.paths import Project
from unets.store.runs import write_text
from unets.submission.kaggle.kernel import imitate_kernel

DEMO = "studio"
IN_KERNEL = "06"  # the notebook that runs in a Kaggle kernel, here an imitated one
_CELL_SECONDS = 3600  # that a cell may take


def open_project(environment: Mapping[str, str] | None = None) -> tuple[Project, DatasetConfig]:
    """Finds what a notebook shows, by the variables COMPETITION (the demo's), INPUT and MODELS: (folders, dataset).

    Paths are relative to the working folder, which is the repository or lies within. Raises InputError where the
    working folder lies elsewhere, or there is no such competition.
    """
    given = os.environ if environment is None else environment
    root = next((folder for folder in (Path(), Path(".."), Path("../..")) if (folder / "configs").is_dir()), None)
    if root is None:
        raise InputError(f"A notebook must be opened within the repository. Received: `{Path.cwd()}`")
    folders = {f"{name}_dir": root / given[name.upper()] for name in ("input", "models") if given.get(name.upper())}
    project = Project.below(root, given.get("COMPETITION") or DEMO, **folders)
    return project, load_dataset(project.configs_dir)


def list_notebooks(folder: Path, wanted: Sequence[str] = ()) -> list[Path]:
    """Lists the notebooks of a folder whose numbers, as `04`, are wanted; none is all.

    Raises InputError where there is none of a number.
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
    """Executes notebooks of the repository, `root`, and yields where each lies now, and the seconds that it took.

    Those `wanted` by number are executed, or all. Without `out_dir` those of the demo stay in place; a competition's
    images may not be passed on, so its copies lie in its models folder. They show `experiments`, names with commas, or
    those of the ensemble. Raises InputError where there is none of a number, or a cell failed, as where the pipeline is
    not finished.
    """
    folder = root / "notebooks"
    paths = list_notebooks(folder, wanted)
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


def execute_notebook(path: Path, out_path: Path, *, working_dir: Path, environment: Mapping[str, str]) -> None:
    """Executes a notebook in a kernel of its own and writes it to `out_path`, with its outputs, if no cell fails.

    The kernel has a working folder, and variables beside those of this process. Raises InputError where it is no
    notebook, or a cell failed: names it, with the error; or what executes it is not installed.
    """
    try:
        import matplotlib.font_manager  # noqa: F401  # its cache, which it talks about when it makes it, is there then
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
        from traitlets.config import Config
    except ImportError as error:
        raise InputError(f"Notebooks need `pip install '.[notebooks]'`. Received: {error}") from error
    with naming(path, "be a notebook of format 4", damage=(*DECODER_FAULTS, nbformat.ValidationError)):
        notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        config = Config()
        # By sockets that are files: others on this host could read those of TCP.
        config.KernelManager.transport, config.KernelManager.connection_file = "ipc", f"{folder}/kernel.json"
        resources = {"metadata": {"path": str(working_dir)}}
        options = {"kernel_name": "python3", "timeout": _CELL_SECONDS, "record_timing": False, "resources": resources}
        own = {
            "IPYTHONDIR": folder,  # a profile of the user's could change what is shown
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        try:
            NotebookClient(notebook, config=config, **options).execute(env={**os.environ, **own, **environment})
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            what = f"a cell did not end: {type(error).__name__}: {error}"
            for index, cell in enumerate(notebook.cells, start=1):
                for output in cell.get("outputs", ()):
                    if output["output_type"] == "error":
                        first = cell["source"].partition("\n")[0]
                        what = f"cell {index} (`{first}`): {output['ename']}: {output['evalue']}"
            raise InputError(f"`{path.name}`, {what}") from error
    notebook.metadata = {"kernelspec": notebook.metadata.get("kernelspec", {}), "language_info": {"name": "python"}}
    write_text(out_path, nbformat.writes(notebook) + "\n")
