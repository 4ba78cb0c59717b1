"""Where everything lies: the only place that joins folder names."""

import os
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

    def ensemble_path(self, name: str) -> Path:
        """What an ensemble, `ensemble` or `ensemble_<...>`, is made of and what it reached out-of-fold."""
        return self.models_dir / f"{name}.json"

    def ensemble_oof_path(self, name: str) -> Path:
        """csv of an ensemble's out-of-fold score of each training photo."""
        return self.models_dir / f"{name}_oof.csv"

    def screen_dir(self, name: str) -> Path:
        """The page of the test photos that are oddest to an ensemble, and a csv of all: `screen` or `screen_<...>`."""
        return self.models_dir / name.replace("ensemble", "screen", 1)

    def report_dir(self, name: str) -> Path:
        """The page of all that was trained and evaluated, with an ensemble's: `report` or `report_<...>`."""
        return self.models_dir / name.replace("ensemble", "report", 1)

    def experiment_dir(self, experiment: str) -> Path:
        """All runs and maps of an experiment."""
        return self.models_dir / experiment

    def run_dir(self, experiment: str, fold: int) -> Path:
        """One fold of one experiment."""
        return self.experiment_dir(experiment) / f"fold{fold}"

    def maps_dir(self, experiment: str, kind: str) -> Path:
        """Shards of maps; `kind` is `oof`, `oof_no_tta` or `test`."""
        return self.experiment_dir(experiment) / "maps" / kind

    def oof_scores_path(self, experiment: str) -> Path:
        """csv of the out-of-fold score of each training photo."""
        return self.experiment_dir(experiment) / "oof_scores.csv"

    def oof_pixels_path(self, experiment: str) -> Path:
        """Dice and IoU of each class over the pixels of all training photos, out-of-fold."""
        return self.experiment_dir(experiment) / "oof_pixels.json"

    def pseudo_labels_dir(self, name: str) -> Path:
        """Test photos' masks, as more training photos; a zip a fold."""
        return self.models_dir / "pseudo_labels" / name

    def pseudo_labels_path(self, name: str, fold: int) -> Path:
        """Masks for the training of one fold."""
        return self.pseudo_labels_dir(name) / f"fold{fold}.zip"

    def pseudo_labels_record_path(self, name: str, fold: int) -> Path:
        """What made them."""
        return self.pseudo_labels_dir(name) / f"fold{fold}.json"

    def pseudo_labels_fold_dir(self, name: str, fold: int) -> Path:
        """Shards of the maps that a fold's labels are made of, a folder an experiment; deleted when they are made."""
        return self.pseudo_labels_dir(name) / f"fold{fold}"

    def submission_path(self, name: str) -> Path:
        """The csv.gz of that name; its provenance stands beside it as .json."""
        return self.submissions_dir / f"{name}.csv.gz"

    def submission_parts_dir(self, name: str) -> Path:
        """Rows of a submission that is not whole yet; deleted when it is."""
        return self.models_dir / "submission_parts" / name

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

    def kaggle_result_path(self, name: str) -> Path:
        """The committed record of a submission that Kaggle scored."""
        return self.results_dir / "kaggle" / f"{name}.json"

    def result_path(self, name: str) -> Path:
        """The committed record of that name."""
        return self.results_dir / f"{name}.json"
