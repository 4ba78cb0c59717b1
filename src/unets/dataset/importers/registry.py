"""Which importer reads which format."""

from collections.abc import Callable, Mapping
from pathlib import Path

from unets.config import DatasetConfig
from unets.dataset.importers import search
from unets.dataset.importers.base import Import
from unets.dataset.importers.patterns import read_patterns
from unets.dataset.importers.table import read_table

# (INPUT, the data set, the folder of its dataset.py) -> what an importer finds.
Importer = Callable[[Path, DatasetConfig, Path], Import]

IMPORTERS: Mapping[str, Importer] = {
    "patterns": read_patterns,
    "table": read_table,
    **dict.fromkeys(search.IMPORTERS, search.read_input),
}
