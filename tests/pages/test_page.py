import re
from pathlib import Path
from unittest.mock import ANY

import pytest

from tests.trained_competition import write_metrics
from unets.config import DatasetConfig, ExperimentConfig, TrainingConfig
from unets.errors import InputError
from unets.evaluation.runs import read_history
from unets.pages.page import mark_code, render_page, write_live
from unets.store.run_folder import take_snapshot, write_snapshot

METRICS = {"is_finished": False, "epochs": 2, "best_dice": 0.9, "best_epoch": 1, "seconds": 100.0, "images": 500}


def leave(run_dir: Path, **fields: object) -> Path:
    write_metrics(run_dir, **METRICS | {"devices": ["a GPU"]} | fields)
    experiment = ExperimentConfig(training=TrainingConfig(epochs=10))
    write_snapshot(run_dir, take_snapshot(experiment, DatasetConfig(), 0, "ab12"))
    (run_dir / "history.csv").write_text("epoch,loss,val_dice\n1,0.5,0.8\n2,nan,0.9\n")
    return run_dir


def test_a_running_training_says_how_long_it_takes_and_loads_itself_again(tmp_path: Path) -> None:
    run_dir = leave(tmp_path / "unet" / "fold0")
    text = write_live(run_dir).read_text()
    assert "<h1>unet, fold 0</h1>" in text
    assert '<meta http-equiv="refresh" content="20">' in text
    assert re.findall(r"<dd>(.*?)<small>(.*?)</small>", text) == [
        ("2 / 10", "in 100 s"),
        ("0.90000", "in epoch 2"),
        ("5.0", "a GPU"),
        ("6.7 min", "if all epochs are trained"),  # 8 epochs of 50 s
        ANY,
    ]
    assert "<img" not in text and "GPU" not in text.split("Memory")[1][:200]
    (run_dir / "panel").mkdir()
    (run_dir / "panel" / "worst.jpg").write_bytes(b"picture")
    assert '<img src="panel/worst.jpg?2"' in write_live(run_dir).read_text()
    leave(run_dir, gpu_bytes=3_210_000_000, images=4)
    text = write_live(run_dir).read_text()
    assert "; GPU: at most 3.2 GB" in text and "<dd>0.04<small>a GPU" in text


def test_a_finished_one_stays(tmp_path: Path) -> None:
    text = write_live(leave(tmp_path, is_finished=True)).read_text()
    assert "http-equiv" not in text and "the run is finished" in text
    with pytest.raises(InputError, match=r"metrics.json"):
        write_live(tmp_path / "none")


def test_a_history_that_is_damaged_has_no_epochs(tmp_path: Path) -> None:
    found = read_history(leave(tmp_path))
    assert found == {"epochs": [1, 2], "series": {"loss": [0.5, None], "val_dice": [0.8, 0.9]}}
    for content in b"epoch,loss\n1,\xff\n", b"", b"loss\n1\n":
        (tmp_path / "history.csv").write_bytes(content)
        assert read_history(tmp_path) == {"epochs": [], "series": {}}
    assert read_history(tmp_path / "none")["epochs"] == []


def test_sentences_are_escaped_and_commands_are_code() -> None:
    assert mark_code("it is <b>: run `make a<b`") == "It is &lt;b&gt;: run <code>make a&lt;b</code>"
    assert mark_code("`unet` is left out") == "<code>unet</code> is left out"


def test_data_cannot_end_its_element_and_holds_no_nan() -> None:
    metrics = {"epochs": 1, "is_finished": True, "seconds": 1.0, "images": 1, "best_epoch": -1, "devices": []}
    values = {"title": "t", "metrics": metrics, "num_epochs": 2, "memory_gb": 1.0, "free_gb": 1.0, "panel": None}
    text = render_page("live.html", **values, data={"name": "</script><b>&\u2028"})
    assert '{"name":"\\u003c/script\\u003e\\u003cb\\u003e\\u0026\\u2028"}' in text
    with pytest.raises(ValueError, match="not JSON compliant"):
        render_page("live.html", **values, data={"value": float("nan")})
