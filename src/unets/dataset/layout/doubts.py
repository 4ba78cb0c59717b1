"""Doubts: guesses that the files do not settle, each with its reason and what to write instead."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """A field of the config whose value may be wrong."""

    field: str  # of DatasetConfig
    chosen: str
    why: str
    instead: str  # alternatives, as one would write them
