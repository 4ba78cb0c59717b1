from pathlib import Path

import pytest

from tests.dataset.importers.drawing import Drawing


@pytest.fixture
def drawing(tmp_path: Path) -> Drawing:
    """A folder that the test fills."""
    return Drawing(tmp_path)
