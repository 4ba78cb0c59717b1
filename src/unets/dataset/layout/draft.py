"""The draft: what is gathered on the way to a guess."""

from dataclasses import dataclass, field
from typing import Any

from unets.dataset.layout.doubts import Doubt


@dataclass(slots=True)
class Draft:
    """Fields of a dataset's config so far, why they are so, and what is doubtful about them."""

    fields: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)  # by field
    doubts: list[Doubt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, why: str = "", **fields: Any) -> None:
        """Sets fields, and why."""
        self.fields |= fields
        self.comments |= dict.fromkeys(fields, why) if why else {}

    def doubt(self, field_name: str, chosen: str, *, why: str, instead: str) -> None:
        """Adds a doubt."""
        self.doubts.append(Doubt(field=field_name, chosen=chosen, why=why, instead=instead))
