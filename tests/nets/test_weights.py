"""Weights on disk."""

from pathlib import Path

import pytest

from tests import limit_files
from unets.config import ModelConfig
from unets.nets.unet import build_unet
from unets.nets.weights import save_weights


def test_weights_on_a_full_disk_leave_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "net.weights.h5"
    net = build_unet(ModelConfig(depth=2, base_filters=4), (32, 48))
    save_weights(net, path)
    whole = path.read_bytes()
    with limit_files(20_000), pytest.raises(OSError, match=r"File too large: .*net\.weights\.h5"):
        save_weights(net, path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name] and path.read_bytes() == whole
    net.load_weights(path)
