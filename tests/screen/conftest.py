"""The scene of the inference tests: maps that are made from true masks."""

from inference.conftest import make_scene

__all__ = ["make_scene"]
