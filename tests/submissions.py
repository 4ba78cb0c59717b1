"""Submissions as the tests compare them."""

from pathlib import Path

from unets.config import DatasetConfig
from unets.data.rle import unite_rles
from unets.dataset.manifest import read_manifest
from unets.dataset.rle_csv import read_rows
from unets.store.paths import Project
from unets.submission import submission


def write_submission(project: Project, dataset: DatasetConfig, name: str | None = None, **options: str) -> Path:
    """Writes the submission of a data set as it is now."""
    return submission.write_submission(project, read_manifest(project, dataset), name, **options)


def read_submission(path: Path, dataset: DatasetConfig) -> dict[str, tuple[str, ...]]:
    """Reads `read_rows` as one string a class, of which several rows are united; "" where there is none."""
    return {id_: tuple(map(unite_rles, rows_of)) for id_, rows_of in read_rows(path, dataset).items()}
