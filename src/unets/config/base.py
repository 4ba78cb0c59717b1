"""What all schemas share: frozen fields that know their JSON, refuse what is unknown, and say faults in words."""

from collections.abc import Iterator
from functools import reduce
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from unets.errors import InputError

MIN_SIDE_PX = 32  # the smallest side any net here takes
_MAX_NAME_BYTES = 200  # most file systems take 255, and names get endings
MAX_SIDE_PX = 65_535  # the largest side that JPEG has
SizeHW = tuple[Annotated[int, Field(ge=1, le=MAX_SIDE_PX)], Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]]
Share = Annotated[float, Field(ge=0, le=1)]


def check_name(name: str, what: str) -> str:
    """Returns the name of `what` (`--name`), which becomes part of a path, if it can and stays within its folder.

    Raises InputError where it is empty, over 200 bytes, begins with a dot, or has a separator or a control character.
    """
    num_bytes = len(name.encode(errors="surrogatepass"))
    if not 0 < num_bytes <= _MAX_NAME_BYTES:
        raise InputError(f"{what} must have 1 to {_MAX_NAME_BYTES} bytes. Received: {num_bytes}, {name[:40]!r}")
    if name.startswith(".") or "/" in name or "\\" in name or not name.isprintable():
        raise InputError(
            f"{what} must be a plain name, without `/`, `\\`, control characters or a dot in front. Received: {name!r}"
        )
    return name


def _check_part(name: str) -> str:
    return check_name(name, "a name that becomes part of a path")


Name = Annotated[str, AfterValidator(_check_part)]


class Config(BaseModel):
    """A frozen set of fields that knows its own JSON and refuses fields that it does not have."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def require(self, holds: bool, field: str, expectation: str) -> None:
        """Raises ValueError, which pydantic collects, where a field, or `field.of.a.field`, is not what it must be."""
        if not holds:
            received = reduce(getattr, field.split("."), self)
            raise ValueError(f"`{field}` must {expectation}. Received: {field}={received!r}")

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Yields what differs from the defaults, so that a repr is how the config is written."""
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if field.is_required() or value != field.get_default(call_default_factory=True):
                yield name, value

    def to_json(self) -> str:
        """Returns the fields as JSON, indented, in the order of their definition."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """Reads what `to_json` wrote; raises InputError, which names `source`, where a field is impossible."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(f"{source}: {describe(error)}") from error


def describe(error: ValidationError) -> str:
    """Says a validation error in the house's form, one fault a line."""
    faults = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        faults.append(message if message.startswith("`") else f"`{where}`: {message}. Received: {fault['input']!r}")
    return "; ".join(faults)
