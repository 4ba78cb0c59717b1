"""Submissions as tests read them."""

from pathlib import Path

from unets.config import DatasetConfig
from unets.data.rle import unite_rles
from unets.dataset.rle_csv import read_rows


def read_submission(path: Path, dataset: DatasetConfig) -> dict[str, tuple[str, ...]]:
    """Returns the run lengths of each id, one a class, of which several rows are united."""
    return {id_: tuple(unite_rles(cells) for cells in rows) for id_, rows in read_rows(path, dataset).items()}
