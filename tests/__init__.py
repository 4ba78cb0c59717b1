"""The tests of each package lie in a folder of its name."""

from pathlib import Path

ROOT = Path(__file__).parents[1]  # of the repository
