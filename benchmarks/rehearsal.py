"""The whole pipeline at full scale, once: what each stage takes, and that kills change no byte.

A few photos are repeated under new ids by hard links: equal photos must give equal rows. Stages are the scripts that
`make` calls, in processes of their own, which are watched from outside. With kills, a second folder gets the same
pipeline, struck by SIGKILL at random moments and started again, and must end with the same bytes.

Run:  python benchmarks/rehearsal.py --input <photos in Carvana's layout> --photos 100064
      python benchmarks/rehearsal.py --input ... --photos 5000 --kills 10
"""

import argparse
import csv
import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from crowd import Crowd, lay_out_crowd

from unets.catalog import load_catalog
from unets.config import (
    DataConfig,
    EnsembleConfig,
    ExperimentConfig,
    ModelConfig,
    Postprocessing,
    TrainingConfig,
    load_dataset,
)
from unets.data.geometry import SizeHW
from unets.origin import describe_origin
from unets.runs import write_json
from unets.tables import render_table

ROOT = Path(__file__).resolve().parent.parent
COMPETITION = "crowd"
STAGES = ("01_check_data", "02_make_folds", "03_train", "04_predict", "05_ensemble", "06_make_submission")
CHECK = "07_check_submission"
_SAMPLE_SECONDS = 2.0  # between two looks at a stage's memory, which cost some 0.1 s each
_MIB, _GB = 2**20, 1e9
# Given, not fitted: nets this small would keep steps that cost several times the rest, which better ones do not.
_ENSEMBLE = EnsembleConfig(
    experiments=("small", "larger"),
    averaging="probability",
    weights="equal",
    threshold=0.5,
    postprocessing=Postprocessing(),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What a stage took."""

    stage: str
    seconds: float
    peak_mib: float  # of all its processes together, pages that they share counted once (PSS)
    disk_gb: float  # of the models folder and the submission when it had ended

    def to_dict(self) -> dict[str, str | float]:
        """Returns the fields for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def main() -> None:
    """Lays out the photos, runs the stages, prints and writes the table."""
    args = _parse()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="rehearsal_"))
    crowd = _lay_out(folder / "whole", args.input, args.photos, args.full_size)
    prices = [_run(crowd, stage) for stage in (*STAGES, CHECK)]
    differing = count_unequal(find_csv(crowd), len(crowd.masks))
    texts = [[p.stage, f"{p.seconds:.1f}", f"{p.peak_mib:.0f}", f"{p.disk_gb:.3f}"] for p in prices]
    total = ["all", f"{sum(p.seconds for p in prices):.1f}", f"{max(p.peak_mib for p in prices):.0f}", texts[-1][-1]]
    header = ["stage", "seconds", "peak MiB", "GB on disk"]
    print(render_table(header, [*texts, total], right=header[1:]))
    print(f"{args.photos:,} photos, {len(crowd.masks)} different; rows unlike those of an equal photo: {differing}")
    found: dict[str, object] = {"photos": args.photos, "unequal_rows": differing}
    if args.kills:
        struck = _lay_out(folder / "struck", args.input, args.photos, args.full_size)
        moments = strike(struck, prices, args.kills, args.seed)
        unequal = compare_files(crowd, struck)
        print(f"{len(moments)} kills ({', '.join(moments)}): {len(unequal)} files differ {unequal[:5]}")
        found |= {"kills": moments, "files_that_differ": unequal}
    write_json(args.out, {"origin": describe_origin(ROOT), "stages": [price.to_dict() for price in prices], **found})
    if args.folder is None:
        shutil.rmtree(folder)
    if differing or found.get("files_that_differ"):
        sys.exit("error: equal photos must give equal rows, and kills must change no byte; see above")


def count_unequal(csv_path: Path, num_files: int) -> int:
    """Counts the rows whose mask is not that of the first row with the same photo, of `num_files` in turn."""
    csv.field_size_limit(2**31 - 1)
    first: dict[int, int] = {}
    unequal = 0
    with gzip.open(csv_path, "rt", newline="") as file:
        for index, row in enumerate(csv.DictReader(file)):
            mask = hash(row["rle_mask"])
            unequal += first.setdefault(index % num_files, mask) != mask
    return unequal


def strike(crowd: Crowd, prices: list[Price], num_kills: int, seed: int) -> list[str]:
    """Runs the pipeline and kills it, with all its processes, at random moments; returns the stages that were struck.

    Moments are drawn over the whole time that the pipeline takes without kills. A stage that ended before its moment is
    run through; the kill then strikes the next.
    """
    rng, struck = random.Random(seed), list[str]()
    seconds_of = {price.stage: price.seconds for price in prices}
    pending = sorted(rng.uniform(0, sum(seconds_of[stage] for stage in STAGES)) for _ in range(num_kills))
    begins = 0.0
    for stage in STAGES:
        ends = begins + seconds_of[stage]
        while pending and pending[0] < ends:
            delay = max(pending.pop(0) - begins, 0.0)
            process = _start(crowd, stage)
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                struck.append(f"{stage} after {delay:.1f} s")
        _run(crowd, stage)
        begins = ends
    return struck


def compare_files(a: Crowd, b: Crowd) -> list[str]:
    """Lists the maps, weights, csv and ensemble files that differ, by their names below the folder."""
    unequal = []
    for path in _list_outputs(a):
        name = path.relative_to(a.project.models_dir.parent)
        other = b.project.models_dir.parent / name
        if not other.is_file() or other.read_bytes() != path.read_bytes():
            unequal.append(str(name))
    surplus = {p.relative_to(b.project.models_dir.parent) for p in _list_outputs(b)} - {
        p.relative_to(a.project.models_dir.parent) for p in _list_outputs(a)
    }
    return unequal + sorted(map(str, surplus))


def find_csv(crowd: Crowd) -> Path:
    """Returns the submission."""
    (path,) = crowd.project.submissions_dir.rglob("*.csv.gz")
    return path


def _list_outputs(crowd: Crowd) -> Iterator[Path]:
    for pattern in ("*/maps/*/*.zip", "*/fold*/best.weights.h5", "*/fold*/history.csv", "ensemble.json", "folds.csv"):
        yield from sorted(crowd.project.models_dir.glob(pattern))
    yield find_csv(crowd)


def _lay_out(folder: Path, input_dir: Path, num_photos: int, full_hw: SizeHW | None) -> Crowd:
    dataset = load_dataset(ROOT / "configs" / "carvana")
    samples = load_catalog(dataset, input_dir, with_test=False).train
    crowd = lay_out_crowd(folder, samples, dataset, num_photos, full_hw)
    configs_dir = folder / "configs" / COMPETITION
    configs_dir.mkdir(parents=True)
    experiment = ExperimentConfig(
        data=DataConfig(size_hw=(96, 144)),
        model=ModelConfig(depth=3, base_filters=8, stride=2),
        training=TrainingConfig(epochs=8, learning_rate=1e-2),
    )
    larger = experiment.model_copy(update={"data": experiment.data.model_copy(update={"size_hw": (128, 192)})})
    contents = {
        "dataset": ("DATASET", crowd.dataset),
        "small": ("EXPERIMENT", experiment),
        "larger": ("EXPERIMENT", larger),
        "ensemble": ("ENSEMBLE", _ENSEMBLE),
    }
    for name, (constant, config) in contents.items():
        kind = type(config).__name__
        text = f"{constant} = {kind}.model_validate({config.model_dump(mode='json')!r})\n"
        (configs_dir / f"{name}.py").write_text(f"from unets.config import {kind}\n\n{text}", encoding="utf-8")
    return crowd


def _start(crowd: Crowd, stage: str) -> "subprocess.Popen[bytes]":
    project = crowd.project
    command = [sys.executable, str(ROOT / "scripts" / f"{stage}.py"), "--competition", COMPETITION]
    command += ["--root", str(project.models_dir.parent)]
    command += ["--input", str(project.input_dir), "--models", str(project.models_dir)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}  # the same bits each time
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _run(crowd: Crowd, stage: str) -> Price:
    """Runs a stage to its end and watches it.

    Raises:
        SystemExit: it failed; it has said why.
    """
    began = time.monotonic()
    process, peak = _start(crowd, stage), 0.0
    while True:
        try:
            process.wait(_SAMPLE_SECONDS)
            break
        except subprocess.TimeoutExpired:
            peak = max(peak, _sum_memory(process.pid))
    if process.returncode:
        sys.exit(f"error: {stage} must succeed. Received: exit code {process.returncode}, see above")
    folders = (crowd.project.models_dir, crowd.project.models_dir.parent / "submissions")
    disk = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    return Price(stage=stage, seconds=time.monotonic() - began, peak_mib=peak / _MIB, disk_gb=disk / _GB)


def _sum_memory(pid: int) -> float:
    """Returns the bytes of a process and all below it."""
    total = 0.0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return total
    for process in family:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=ROOT / "input/studio", help="a folder in Carvana's layout")
    parser.add_argument("--photos", type=int, default=100_064, help="test photos (default: 100064)")
    parser.add_argument("--kills", type=int, default=0, help="of a second run, compared with the first (default: 0)")
    parser.add_argument("--seed", type=int, default=2017, help="of the moments of kills (default: 2017)")
    parser.add_argument("--full-size", type=_parse_size, help="HEIGHTxWIDTH that photos are shrunk to first")
    parser.add_argument(
        "--folder", type=Path, help="where to work, missing or empty; kept (default: deleted at the end)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/out/rehearsal.json")
    return parser.parse_args()


def _parse_size(text: str) -> SizeHW:
    height, width = text.split("x")
    return int(height), int(width)


if __name__ == "__main__":
    main()
