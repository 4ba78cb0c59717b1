"""`from unets import ...`: what other code may use."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import unets

HEAVY = ("cv2", "keras", "tensorflow", "pandas", "numpy", "PIL", "pydantic")


def test_importing_is_free_and_run_lengths_and_dice_need_numpy_alone(tmp_path: Path) -> None:
    listed = f"print([name for name in {HEAVY} if name in sys.modules])"
    program = f"import sys, unets; {listed}; from unets import decode_rle, dice, encode_rle; {listed}"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n['numpy']\n", done.stderr


def test_every_name_has_a_home_that_type_checkers_know() -> None:
    source = Path(unets.__file__).read_text(encoding="utf-8")
    for name in set(unets.__all__) - {"__version__"}:
        home = unets._HOMES[name]
        assert f"    from {home} import {name} as {name}\n" in source and name in dir(unets)
        if name not in ("TrainedModel", "load_model"):  # which load TensorFlow; tests/export calls them
            assert getattr(unets, name) is getattr(import_module(home), name)
    with pytest.raises(AttributeError, match="module 'unets' has no attribute 'encode'"):
        unets.encode  # noqa: B018
