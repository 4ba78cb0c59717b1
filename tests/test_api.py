"""`from unets import ...`: what other code may use."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import unets

HEAVY = ("cv2", "keras", "tensorflow", "pandas", "numpy", "PIL", "pydantic")


def run(program: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_is_free(tmp_path: Path) -> None:
    assert run(f"import sys, unets; print([name for name in {HEAVY} if name in sys.modules])", tmp_path) == "[]"


def test_run_lengths_and_dice_need_numpy_alone(tmp_path: Path) -> None:
    program = f"""
import sys
from unets import decode_rle, dice, encode_rle
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert run(program, tmp_path) == "['numpy']"


@pytest.mark.parametrize("name", [name for name in unets.__all__ if name not in ("__version__",)])
def test_every_name_has_a_home_that_type_checkers_know(name: str) -> None:
    source = Path(unets.__file__).read_text(encoding="utf-8")
    home = unets._HOMES[name]
    assert f"    from {home} import {name} as {name}\n" in source
    if name not in ("TrainedModel", "load_model"):  # which load TensorFlow; tests/export calls them
        assert getattr(unets, name) is getattr(import_module(home), name)
    assert name in dir(unets)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'unets' has no attribute 'encode'"):
        unets.encode  # noqa: B018
