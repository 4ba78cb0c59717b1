"""Trained models that leave the house: one file with all it takes, and the formats of other programs."""
