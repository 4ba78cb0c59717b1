"""A submission of three members at 640 x 959: where the time goes, how far each step is from the bare library call.

And one of as many photos as you like, whole, in a process of its own: minutes, megabytes and memory, not extrapolated.
"""

import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import numpy.typing as npt
import psutil
from crowd import Crowd, lay_out_crowd, lay_out_maps, name_folders
from footprint import MIB, read_peak, read_status
from measure import Row, compare, time_rounds

from unets.config import DatasetConfig
from unets.data.geometry import SizeHW
from unets.data.io import encode_png
from unets.data.rle import encode_rle
from unets.data.samples import Sample
from unets.ensemble.blend import blend
from unets.ensemble.postprocess import to_masks
from unets.prediction.maps import from_u8, open_maps
from unets.store.parts import pack, part_path, write_part
from unets.submission.check import check_submission
from unets.submission.submission import write_submission
from unets.workers.machine import count_cores

_SIZE_HW, _MEMBERS = (640, 959), ("a", "b", "c")
_WEIGHTS, _THRESHOLD = (1 / 3, 1 / 3, 1 / 3), 0.5
_NUM_PHOTOS = 1024  # four parts; starting the workers, once whatever the number, is left out by a first untimed round
_NUM_TIMED = 64
_LEVELS = (1, 4, 6, 9)
_NAME = "bench"
CARVANA = 100_064

Step = Callable[[int], object]


def measure_submission(
    samples: Sequence[Sample], dataset: DatasetConfig, seconds: float
) -> tuple[list[Row], dict[str, float]]:
    """Compares each step with the library call it cannot do without, and the whole with its steps.

    Returns:
        (rows of CPU ms a photo in one thread, and of ms for the whole, with what all of it took by the clock;
        by what they are: KB and ms a photo of each level of compression, minutes of 100,064 photos on these cores).
    """
    with tempfile.TemporaryDirectory() as folder:
        crowd = lay_out_crowd(Path(folder), samples, dataset, _NUM_PHOTOS)
        lay_out_maps(crowd, dict.fromkeys(_MEMBERS, _SIZE_HW))
        steps, texts = _list_steps(crowd, Path(folder))
        times: dict[str, list[list[float]]] = {}
        for name, pair in steps.items():
            rounds = time_rounds(
                {"ours": _for_all(pair[0]), "bare": _for_all(pair[1])}, seconds / len(steps) / 2, clock=time.thread_time
            )
            times[name] = [rounds["ours"], rounds["bare"]]
        whole = time_rounds({"whole": lambda _: write_submission(crowd.project, crowd.dataset, _NAME)}, seconds / 2)
        path = crowd.project.submission_path(_NAME)
        sample_path = crowd.project.input_dir / crowd.dataset.sample_submission
        checked = time_rounds({"check": lambda _: check_submission(path, sample_path, crowd.dataset)}, seconds / 10)
    rows = [
        compare(f"submission: {name}", ours, bare, unit="ms/photo", scale=1000 / _NUM_TIMED)
        for name, (ours, bare) in times.items()
    ]
    per_photo = sum(median(ours) for ours, _ in times.values()) / _NUM_TIMED
    added_up = [per_photo * _NUM_PHOTOS / count_cores()] * len(whole["whole"])
    scale = 1000 / _NUM_PHOTOS
    rows.append(compare("submission / its steps on all cores", whole["whole"], added_up, unit="ms/photo", scale=scale))
    minutes = median(whole["whole"]) / _NUM_PHOTOS * CARVANA / 60
    found = {
        f"minutes for {CARVANA:,} photos, {len(_MEMBERS)} members, {count_cores()} cores": minutes,
        "of them minutes for the check": median(checked["check"]) / _NUM_PHOTOS * CARVANA / 60,
    }
    return rows, found | _measure_levels("".join(texts), len(texts))


def measure_whole(
    samples: Sequence[Sample], dataset: DatasetConfig, num_photos: int, full_hw: SizeHW | None = None
) -> dict[str, float]:
    """Writes one submission of `num_photos` rows, checked and all, and measures it: nothing is extrapolated.

    A process of its own does it, as the script does, from maps that were written a moment before. Its workers are
    started within the time that is measured.

    Args:
        samples: photos with masks, which become maps in turn.
        dataset: their declaration.
        num_photos: rows; the maps of three members take 30 KB a row, in the folder for temporary files, while it lasts.
        full_hw: (height, width) that photos and masks are shrunk to first; None leaves them as they are.

    Returns:
        By what they are: photos, members, cores, minutes, ms a photo, MB of the csv.gz, MiB of the process and of its
        largest worker at their peaks (resident, as the system counts it; 0: there was no worker).

    Raises:
        RuntimeError: it failed; it has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        crowd = lay_out_crowd(Path(folder), samples, dataset, num_photos, full_hw)
        lay_out_maps(crowd, dict.fromkeys(_MEMBERS, _SIZE_HW))
        (Path(folder) / "dataset.json").write_text(crowd.dataset.model_dump_json(), encoding="utf-8")
        command = [sys.executable, __file__, folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"a submission must end well. Received: exit code {done.returncode}, see above")
        found = json.loads(done.stdout.splitlines()[-1])
        csv_bytes = crowd.project.submission_path(_NAME).stat().st_size
    return {
        "photos": num_photos,
        "members": len(_MEMBERS),
        "cores": count_cores(),
        "minutes": found["seconds"] / 60,
        "ms a photo": 1000 * found["seconds"] / num_photos,
        "MB of csv.gz": csv_bytes / 1e6,
        "MiB of the process at its peak": found["process_bytes"] / MIB,
        "MiB of its largest worker at its peak": found["worker_bytes"] / MIB,
    }


def _write(folder: Path) -> dict[str, float]:
    """What a child does."""
    dataset = DatasetConfig.model_validate_json((folder / "dataset.json").read_text(encoding="utf-8"))
    began = time.perf_counter()
    write_submission(name_folders(folder), dataset, _NAME)
    seconds = time.perf_counter() - began
    # Workers wait for more for some minutes: what each held at most can still be read.
    workers = [read_peak(child.pid) for child in psutil.Process().children(recursive=True)]
    return {"seconds": seconds, "process_bytes": read_status("VmHWM"), "worker_bytes": max(workers, default=0)}


def _list_steps(crowd: Crowd, folder: Path) -> tuple[dict[str, tuple[Step, Step]], list[str]]:
    """Returns (ours, the bare call) of each step by its name, and the rows that come out."""
    readers = [open_maps(crowd.project.maps_dir(name, "test")) for name in _MEMBERS]
    full_hw = crowd.masks[0].shape
    ids = readers[0].ids[:_NUM_TIMED]
    maps = [[reader.read_map(id_) for reader in readers] for id_ in ids]
    pngs = [[np.frombuffer(encode_png(layer[..., 0]), dtype=np.uint8) for layer in layers] for layers in maps]
    means = [np.mean([from_u8(layer[..., 0]) for layer in layers], axis=0) for layers in maps]
    probs = [blend(layers, _WEIGHTS, full_hw) for layers in maps]
    masks = [to_masks(probs_hwc, _THRESHOLD) for probs_hwc in probs]
    texts = [f"{id_}.jpg,{encode_rle(mask_hw)}\n" for id_, mask_hw in zip(ids, masks, strict=True)]
    part = "".join(texts)

    def find_edges(mask_hw: npt.NDArray[np.uint8]) -> object:
        flat = mask_hw.ravel()
        return np.flatnonzero(flat[1:] != flat[:-1])

    return {
        "decode / cv2.imdecode": (
            lambda i: [reader.read_map(ids[i]) for reader in readers],
            lambda i: [cv2.imdecode(png, cv2.IMREAD_UNCHANGED) for png in pngs[i]],
        ),
        "average and enlarge / cv2.resize": (
            lambda i: blend(maps[i], _WEIGHTS, full_hw),
            lambda i: cv2.resize(means[i], full_hw[::-1], interpolation=cv2.INTER_LINEAR),
        ),
        "cut / numpy's >=": (
            lambda i: to_masks(probs[i], _THRESHOLD),
            lambda i: probs[i] >= np.float32(_THRESHOLD),
        ),
        "run lengths / comparing neighbours": (lambda i: encode_rle(masks[i] == 1), lambda i: find_edges(masks[i])),
        # A part at a time: charged to the first of its photos.
        "compress and write / zlib": (
            lambda i: i or write_part(part_path(folder, 0), part, fingerprint="0"),
            lambda i: i or pack(part),
        ),
    }, texts


def _for_all(step: Step) -> Step:
    def run(_: int) -> None:
        for index in range(_NUM_TIMED):
            step(index)

    return run


def _measure_levels(text: str, num_photos: int) -> dict[str, float]:
    found = {"KB a photo, as text": len(text) / 1000 / num_photos}
    for level in _LEVELS:
        began = time.thread_time()
        packed = zlib.compress(text.encode(), level)
        found[f"ms a photo at level {level}"] = 1000 * (time.thread_time() - began) / num_photos
        found[f"KB a photo at level {level}"] = len(packed) / 1000 / num_photos
    return found


if __name__ == "__main__":
    print(json.dumps(_write(Path(sys.argv[1]))))
