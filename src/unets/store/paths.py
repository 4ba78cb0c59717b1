"""Where everything lies: the only place that joins folder names."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CACHE_VARIABLE = "UNETS_CACHE"  # of the environment: a folder of this machine for decoded images


class _Place:
    """A file or folder below one of a project's folders."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder, self.name = folder, name

    def __get__(self, project: "Project", owner: type) -> Path:
        folder: Path = getattr(project, self.folder)
        return folder / self.name


class _Places:
    """Files or folders below one of a project's folders, a function of what stands for the braces in their names."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder, self.name = folder, name

    def __get__(self, project: "Project", owner: type) -> Callable[..., Path]:
        return lambda *names: getattr(project, self.folder) / self.name.format(*names)


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """The folders of one competition. Nothing is created here; writers make the folders they write to."""

    competition: str
    input_dir: Path  # what the competition gave; only ever read
    models_dir: Path  # folds, cache, run folders, maps
    configs_dir: Path  # configs/<competition>
    submissions_dir: Path  # submissions/<competition>
    results_dir: Path  # docs/results/<competition>

    folds_path = _Place("models_dir", "folds.csv")  # csv of `id,group,fold`
    samples_path = _Place("models_dir", "samples.csv")  # csv of all images, which every stage reads
    import_path = _Place("models_dir", "import.json")  # what `samples_path` was made of
    account_path = _Place("models_dir", "account.csv")  # what each file of INPUT became, and hashes
    masks_dir = _Place("models_dir", "masks")  # masks that are not canonical in INPUT, drawn once
    checked_path = _Place("models_dir", "checked.jsonl")  # what `check` found whole, so that it need not look again
    faults_path = _Place("models_dir", "faults.txt")  # what `check` says, where the screen is too small
    stages_path = _Place("models_dir", "stages.jsonl")  # a JSON a line: a finished stage, its arguments, seconds
    export_dir = _Place("models_dir", "export")  # trained models as others take them, and the table of these files
    download_dir = _Place("input_dir", ".download")  # what `unets download` has not finished

    # Of an experiment: all its runs and maps; a fold's run; shards of maps, `oof`, `oof_no_tta` or `test`; csv of the
    # out-of-fold score of each training image; Dice and IoU of each class over the pixels of all of these.
    experiment_dir = _Places("models_dir", "{}")
    run_dir = _Places("models_dir", "{}/fold{}")
    maps_dir = _Places("models_dir", "{}/maps/{}")
    oof_scores_path = _Places("models_dir", "{}/oof_scores.csv")
    oof_pixels_path = _Places("models_dir", "{}/oof_pixels.json")
    # Of an ensemble, `ensemble` or `ensemble_<...>`: what it is made of and what it reached out-of-fold; csv of its
    # out-of-fold score of each training image.
    ensemble_path = _Places("models_dir", "{}.json")
    ensemble_oof_path = _Places("models_dir", "{}_oof.csv")
    # Of pseudo-labels, by name and fold: test images' masks, as more training images; for one fold; what made them;
    # shards of the maps that they are made of, a folder an experiment, which are deleted then.
    pseudo_labels_dir = _Places("models_dir", "pseudo_labels/{}")
    pseudo_labels_path = _Places("models_dir", "pseudo_labels/{}/fold{}.zip")
    pseudo_labels_record_path = _Places("models_dir", "pseudo_labels/{}/fold{}.json")
    pseudo_labels_fold_dir = _Places("models_dir", "pseudo_labels/{}/fold{}")
    # Of a submission: the csv.gz, with its provenance beside it as .json; rows of one that is not whole yet.
    submission_path = _Places("submissions_dir", "{}.csv.gz")
    submission_parts_dir = _Places("models_dir", "submission_parts/{}")
    # Committed records: of a submission that Kaggle scored, and others.
    kaggle_result_path = _Places("results_dir", "kaggle/{}.json")
    result_path = _Places("results_dir", "{}.json")

    @classmethod
    def below(
        cls, root: Path, competition: str, *, input_dir: Path | None = None, models_dir: Path | None = None
    ) -> Self:
        """Names the folders of a competition as the repository, whose root has configs/, input/, models/, has them.

        Its files, and runs, folds, caches and maps, may lie elsewhere.
        """
        return cls(
            competition=competition,
            input_dir=input_dir or root / "input" / competition,
            models_dir=models_dir or root / "models" / competition,
            configs_dir=root / "configs" / competition,
            submissions_dir=root / "submissions" / competition,
            results_dir=root / "docs" / "results" / competition,
        )

    @property
    def cache_dir(self) -> Path:
        """Decoded images, shared by folds and experiments of one size: in the folder of UNETS_CACHE where it is set."""
        folder = os.environ.get(CACHE_VARIABLE)
        return Path(folder) / self.competition / "cache" if folder else self.models_dir / "cache"

    def screen_dir(self, name: str) -> Path:
        """The page of the test photos that are oddest to an ensemble, and a csv of all: `screen` or `screen_<...>`."""
        return self.models_dir / name.replace("ensemble", "screen", 1)

    def report_dir(self, name: str) -> Path:
        """The page of all that was trained and evaluated, with an ensemble's: `report` or `report_<...>`."""
        return self.models_dir / name.replace("ensemble", "report", 1)

    def score_path(self, submission_path: Path) -> Path:
        """What a submission reached against the ground truth."""
        return self.models_dir / "scores" / f"{submission_path.name.split('.csv')[0]}.json"

    def sent_path(self, sha256: str) -> Path:
        """How far a submission is on its way to Kaggle, by the SHA-256 of its csv; its folder is its lock's."""
        return self.models_dir / "kaggle" / "submissions" / sha256[:16] / "sent.json"

    def kaggle_dataset_dir(self, name: str) -> Path:
        """What inference in a Kaggle kernel needs of an ensemble: `dataset` or `dataset_<...>`."""
        return self.models_dir / "kaggle" / name.replace("ensemble", "dataset", 1)

    def kaggle_kernel_dir(self, name: str) -> Path:
        """The notebook for that kernel, and its metadata: `kernel` or `kernel_<...>`."""
        return self.models_dir / "kaggle" / name.replace("ensemble", "kernel", 1)
