"""The whole pipeline at full scale, once: what each stage takes, and that kills change no byte.

A few photos are repeated under new ids by hard links: equal photos must give equal rows. Stages are the commands that
`make` calls, in processes of their own, which are watched from outside. With kills, a second folder gets the same
pipeline, struck by SIGKILL at random moments and started again, and must end with the same bytes.

Run:  python benchmarks/rehearsal.py --input <photos in Carvana's layout> --photos 100064
      python benchmarks/rehearsal.py --input ... --photos 5000 --kills 10
      python benchmarks/rehearsal.py --input ... --folder <of one that was cut short>   (goes on with it)
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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from itertools import accumulate
from pathlib import Path

from crowd import lay_out_crowd, name_folders
from prices import Ledger, Price, pay, render_prices

from benchmarks.measure import import_samples
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
from unets.store.paths import Project
from unets.store.provenance import describe_commit, describe_origin
from unets.store.runs import write_json

ROOT = Path(__file__).resolve().parent.parent
COMPETITION = "crowd"
STAGES = ("check", "split", "train", "predict", "ensemble", "submission")
CHECK = "check-submission"
MISSES = 10  # moments a kill at most that find their stage ended
# Given, not fitted: nets this small would keep steps that cost several times the rest, which better ones do not.
_ENSEMBLE = EnsembleConfig(
    experiments=("small", "larger"),
    averaging="probability",
    weights="equal",
    threshold=0.5,
    postprocessing=Postprocessing(),
)


def main() -> None:
    """Lays out the photos, runs the stages, prints and writes the table."""
    args = _parse()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="rehearsal_"))
    print(f"working in {folder}; one that is cut short goes on with --folder {folder}", flush=True)
    ledger = _open_ledger(folder, args)
    whole = _lay_out(folder / "whole", args.input, args.photos, args.full_size)
    written = (whole.models_dir, whole.submissions_dir)
    prices = [pay(stage, partial(_start, whole, stage), written, ledger) for stage in (*STAGES, CHECK)]
    num_files = len(list((folder / "whole" / "files").iterdir()))
    differing = count_unequal(find_csv(whole), num_files)
    print(render_prices(prices))
    print(f"{args.photos:,} photos, {num_files} different; rows unlike those of an equal photo: {differing}")
    found: dict[str, object] = {"photos": args.photos, "unequal_rows": differing}
    moments, unequal = list[str](), list[str]()
    if args.kills:
        shutil.rmtree(folder / "struck", ignore_errors=True)  # of a rehearsal that was cut short: its kills are lost
        struck = _lay_out(folder / "struck", args.input, args.photos, args.full_size)
        moments = strike(struck, prices, args.kills, args.seed)
        unequal = compare_files(whole, struck)
        print(f"{len(moments)} kills ({', '.join(moments)}): {len(unequal)} files differ {unequal[:5]}")
        found |= {"kills_asked": args.kills, "kills": moments, "files_that_differ": unequal}
    write_json(args.out, {"origin": describe_origin(ROOT), "stages": [asdict(price) for price in prices], **found})
    if args.folder is None:
        shutil.rmtree(folder)
    if faults := list_faults(differing, args.kills, len(moments), len(unequal)):
        sys.exit(f"error: {'; '.join(faults)}; see above")


def list_faults(differing: int, asked: int, struck: int, unequal: int) -> list[str]:
    """Says what a rehearsal must not show: of rows, of kills that were asked for and struck, of files."""
    return [
        *(["equal photos must give equal rows"] if differing else []),
        *([f"{asked} kills must strike a stage at work, not {struck}"] if struck < asked else []),
        *(["kills must change no byte"] if unequal else []),
    ]


def _open_ledger(folder: Path, args: argparse.Namespace) -> Ledger:
    """Opens what earlier stages took, for a rehearsal that goes on.

    Raises:
        SystemExit: the folder holds something else.
    """
    path = folder / "rehearsal.json"
    if folder.exists() and not path.exists() and any(folder.iterdir()):
        sys.exit(f"error: `--folder` must be missing, empty or an earlier rehearsal's. Received: {folder}")
    about = {
        "input": str(args.input.resolve()),
        "photos": args.photos,
        "full_size": list(args.full_size) if args.full_size else None,
    }
    try:
        return Ledger.open(path, about, describe_commit(ROOT))
    except ValueError as error:
        sys.exit(f"error: {error}")


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


def strike(project: Project, prices: Sequence[Price], num_kills: int, seed: int) -> list[str]:
    """Runs the pipeline and kills it, with all its processes, at random moments.

    Moments are drawn over the whole time that the pipeline takes without kills. A moment that finds its stage ended,
    because what was made before a kill is not made again, is no kill: it is drawn again from the time of the stages to
    come. The last stage, which makes a submission anew each time, is run again for it.

    Args:
        project: laid out; no stage has run.
        prices: of all stages, without kills.
        num_kills: that are to strike.
        seed: of the moments. A stage that is slower or faster than it was can make others of them strike.

    Returns:
        The stages that were struck while they ran, and when: fewer than `num_kills` after `MISSES` misses a kill.

    Raises:
        SystemExit: a stage failed by itself; it has said why.
    """
    rng, struck, misses = random.Random(seed), list[str](), 0
    seconds_of = {price.stage: price.seconds for price in prices}
    ends_of = dict(zip(STAGES, accumulate(seconds_of[stage] for stage in STAGES), strict=True))
    total = ends_of[STAGES[-1]]
    pending = sorted(rng.uniform(0, total) for _ in range(num_kills))
    for stage, ends in ends_of.items():
        begins = ends - seconds_of[stage]
        while pending and pending[0] <= ends and misses < MISSES * num_kills:
            delay = max(pending[0] - begins, 0.0)
            if _kill(project, stage, delay):
                pending.pop(0)
                struck.append(f"{stage} after {delay:.1f} s")
                continue
            misses += 1
            late = [moment for moment in pending if moment <= ends]
            since = begins if stage == STAGES[-1] else ends
            pending = sorted([*(rng.uniform(since, total) for _ in late), *pending[len(late) :]])
        _finish(project, stage)
    return struck


def compare_files(a: Project, b: Project) -> list[str]:
    """Lists the maps, weights, csv and ensemble files that differ, by their names below the folder."""
    unequal = []
    for path in _list_outputs(a):
        name = path.relative_to(a.models_dir.parent)
        other = b.models_dir.parent / name
        if not other.is_file() or other.read_bytes() != path.read_bytes():
            unequal.append(str(name))
    surplus = {p.relative_to(b.models_dir.parent) for p in _list_outputs(b)} - {
        p.relative_to(a.models_dir.parent) for p in _list_outputs(a)
    }
    return unequal + sorted(map(str, surplus))


def find_csv(project: Project) -> Path:
    """Returns the submission."""
    (path,) = project.submissions_dir.rglob("*.csv.gz")
    return path


def _list_outputs(project: Project) -> Iterator[Path]:
    for pattern in ("*/maps/*/*.zip", "*/fold*/best.weights.h5", "*/fold*/history.csv", "ensemble.json", "folds.csv"):
        yield from sorted(project.models_dir.glob(pattern))
    yield find_csv(project)


def _lay_out(folder: Path, input_dir: Path, num_photos: int, full_hw: SizeHW | None) -> Project:
    """Lays out photos and configs, if the folder is not there: it takes its name when it is whole."""
    if not folder.exists():
        part = folder.with_name(f".part-{folder.name}")
        shutil.rmtree(part, ignore_errors=True)
        _lay_out_anew(part, input_dir, num_photos, full_hw)
        part.rename(folder)
    return name_folders(folder)


def _lay_out_anew(folder: Path, input_dir: Path, num_photos: int, full_hw: SizeHW | None) -> None:
    dataset = load_dataset(ROOT / "configs" / "carvana")
    samples = import_samples(dataset, input_dir).train
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


def _start(project: Project, stage: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "unets", stage, COMPETITION, "--root", str(project.models_dir.parent)]
    command += ["--input", str(project.input_dir), "--models", str(project.models_dir)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}  # the same bits each time
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _kill(project: Project, stage: str, delay: float) -> bool:
    """Starts a stage and kills it after `delay` seconds; tells whether it was still at work."""
    process = _start(project, stage)
    with suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    is_running = process.poll() is None
    if is_running:
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    if code and not (is_running and code == -signal.SIGKILL):
        sys.exit(f"error: {stage} must succeed or be killed by us. Received: exit code {code}, see above")
    return bool(code)


def _finish(project: Project, stage: str) -> None:
    """Runs a stage to its end."""
    if code := _start(project, stage).wait():
        sys.exit(f"error: {stage} must succeed. Received: exit code {code}, see above")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=ROOT / "input/studio", help="a folder in Carvana's layout")
    parser.add_argument("--photos", type=int, default=100_064, help="test photos (default: 100064)")
    parser.add_argument("--kills", type=int, default=0, help="of a second run, compared with the first (default: 0)")
    parser.add_argument("--seed", type=int, default=2017, help="of the moments of kills (default: 2017)")
    parser.add_argument("--full-size", type=_parse_size, help="HEIGHTxWIDTH that photos are shrunk to first")
    parser.add_argument(
        "--folder",
        type=Path,
        help="where to work, kept; missing, empty, or of a rehearsal that goes on (default: deleted at the end)",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/out/rehearsal.json")
    return parser.parse_args()


def _parse_size(text: str) -> SizeHW:
    height, width = text.split("x")
    return int(height), int(width)


if __name__ == "__main__":
    main()
