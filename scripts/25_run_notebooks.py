"""Executes the notebooks: those of the demo in place, those of another competition as copies in its models folder.

A competition's photos may not be passed on, so its copies never lie where the repository's notebooks do.
"""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from unets import cli
from unets.pages.notebooks import DEMO, check_finished, execute_notebook, list_notebooks
from unets.submission.kaggle.kernel import imitate_kernel

IN_KERNEL = "06"  # runs in a Kaggle kernel, here an imitated one


def main(stage: cli.Stage) -> None:
    """Executes one after the other; the first that fails ends it."""
    project, root = stage.project, stage.args.root
    folder = root / "docs" / "notebooks"
    paths = list_notebooks(folder, [number for number in stage.args.only.split(",") if number])
    _ = stage.dataset  # tells a mistyped competition
    check_finished(project)
    out_dir = stage.args.out or (folder if project.competition == DEMO else project.models_dir / "notebooks")
    given = {"COMPETITION": project.competition, "EXP": "" if stage.args.exp == "all" else stage.args.exp}
    for name, path in {"INPUT": project.input_dir, "MODELS": project.models_dir}.items():
        given[name] = os.path.relpath(path, root)
    for path in paths:
        began, working_dir = time.monotonic(), folder
        with TemporaryDirectory() as temporary:
            if path.name.startswith(IN_KERNEL):
                attached_dir, working_dir = imitate_kernel(project, Path(temporary))
                given |= {"KAGGLE_INPUT": os.path.relpath(attached_dir, working_dir), "KAGGLE_WORKING": "."}
            execute_notebook(path, out_dir / path.name, working_dir=working_dir, environment=given)
        out_path = out_dir / path.name
        print(f"{out_path}: {time.monotonic() - began:.0f} s, {out_path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--only", default="", help="numbers of notebooks with commas (default: all)")
    parser.add_argument("--out", type=Path, help="a folder for executed copies (default: see above)")
    cli.run(main, parser)
