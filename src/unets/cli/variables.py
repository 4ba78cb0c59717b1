"""Says what was meant by a variable that `make` does not know.

python -m unets.cli.variables EPOCHS COMPETITION INPUT EXP ...
"""

import sys
from collections.abc import Sequence

from unets.errors import suggest


def explain(unknown: str, known: Sequence[str]) -> str:
    """Returns an error for a variable; a field of an experiment, as EPOCHS, is set by SET=."""
    try:
        from unets.config import list_fields

        paths = [name for name in list_fields() if "." in name]
        fields = {name.rpartition(".")[2].upper(): name for name in reversed(paths)}  # of two the first counts
    except ImportError:  # before `make setup`
        fields = {}
    if unknown.upper() in fields:
        return f"no such variable: {unknown}; did you mean SET={fields[unknown.upper()]}=...?"
    return f"no such variable: {unknown}{suggest(unknown, known)}"


if __name__ == "__main__":
    print(explain(sys.argv[1], sys.argv[2:]))
