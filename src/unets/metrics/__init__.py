"""Scores of masks, and intervals of their means."""
