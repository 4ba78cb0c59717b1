"""A competition that is new here: its folder is looked at, its config files are written."""

import logging
import re
from pathlib import Path

from unets.dataset.layout.experiments import look_at_machine, propose_experiments
from unets.dataset.layout.guess import Guess, guess_layout
from unets.dataset.layout.inventory import File, take_inventory
from unets.dataset.layout.text import write_dataset_text, write_ensemble_text, write_experiment_text
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import write_text

logger = logging.getLogger(__name__)


def welcome(project: Project, *, names_path: Path | None = None, anew: bool = False) -> Guess:
    """Looks at a competition's photos and writes its dataset.py, experiments and ensemble.py.

    Args:
        project: whose `input_dir` is looked at, and whose `configs_dir` gets the files.
        names_path: a csv, txt or json that lists the classes, see `layout.values.read_names`.
        anew: write over config files that are there; others of the folder stay.

    Returns:
        What was guessed.

    Raises:
        InputError: the name is none, the config folder is there already, or the photos or masks cannot be told.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", project.competition):
        raise InputError(f"`COMPETITION` must be of letters, digits, `_` and `-`. Received: {project.competition!r}")
    if (project.configs_dir / "dataset.py").exists() and not anew:
        raise _refuse(project.configs_dir / "dataset.py")
    if names_path is not None and not names_path.is_file():
        raise InputError(f"`CLASSES` must be a csv, txt or json. Received: {names_path}, which does not exist")
    inventory = take_inventory(project.input_dir)
    names_file = None if names_path is None else File(name=names_path.name, path=names_path)
    guess = guess_layout(inventory, names_file)
    machine = look_at_machine()
    proposals = propose_experiments(
        guess.photo_hw,
        guess.num_train,
        guess.fields["num_folds"],
        machine,
        is_grey=guess.fields.get("channels") == "grey",
    )
    name, folder = project.competition, project.configs_dir
    texts = {p.name: write_experiment_text(name, p, on_gpu=machine.has_gpu) for p in proposals}
    texts |= {"ensemble": write_ensemble_text(name, proposals, guess)}
    # The last makes it a competition: what a kill leaves before is no obstacle to the next call.
    texts |= {"dataset": write_dataset_text(name, guess)}
    paths = {folder / f"{stem}.py": text for stem, text in texts.items()}
    for path, text in paths.items():
        if path.exists() and path.read_text(encoding="utf-8") != text and not anew:
            raise _refuse(path)
    for path, text in paths.items():
        write_text(path, text)
        logger.info("%s", path)
    return guess


def _refuse(path: Path) -> InputError:
    return InputError(
        f"{path} must not be there yet. Received: it is; another COMPETITION= is a new one, and FORCE=1 writes over "
        "the files of this one"
    )
