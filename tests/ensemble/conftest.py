"""Tests here need maps that no net made."""

from tests.trained_competition import make_scene

__all__ = ["make_scene"]
