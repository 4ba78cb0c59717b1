"""The scene of the inference tests: maps that are made from true masks."""

from tests.trained_competition import make_scene

__all__ = ["make_scene"]
