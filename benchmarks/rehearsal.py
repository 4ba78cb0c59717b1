"""The whole pipeline at full scale: what each stage takes, how memory grows, and that kills change no byte.

A few images are repeated under new ids by hard links: equal images must give equal rows. Stages are `unets` commands in
processes of their own, watched from outside. With kills, a second folder gets the same pipeline, struck by SIGKILL at
random moments and started again, and must end with the same bytes.

Run:  python benchmarks/rehearsal.py --input <a folder in Carvana's layout> --images 1000,10000,100064
      python benchmarks/rehearsal.py --input ... --images 5000 --kills 10
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
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path

import cv2
import numpy as np
import psutil

from unets import decode_rle, encode_rle
from unets.store.provenance import describe_origin
from unets.store.runs import write_json
from unets.tables import render_table

ROOT = Path(__file__).resolve().parent.parent
COMPETITION = "crowd"
STAGES = ("import", "check", "split", "train", "predict", "ensemble", "pseudo-labels", "report", "submission")
OPTIONS = {"pseudo-labels": ("--name", "first", "--confidence", "0"), "report": ("--top", "8")}
CHECK = "check-submission"
MISSES = 10  # moments a kill at most that find their stage ended
_NUM_FILES = 64  # different images; a file takes 65,000 hard links at most
_NUM_TRAIN = 32  # of them are training images too
_CONFIGS = {
    "dataset": """from unets.config import CsvSource, DatasetConfig, SubmissionConfig

DATASET = DatasetConfig(
    source=CsvSource(path="train_masks.csv", group=r"(?P<group>[0-9a-f]{12})_(?P<view>\\d\\d)"),
    size_hw=SIZE_HW,
    num_folds=2,
    submission=SubmissionConfig(),
)
""",
    "small": """from unets.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(96, 144)),
    model=ModelConfig(depth=3, base_filters=8, stride=2),
    training=TrainingConfig(epochs=8, learning_rate=1e-2),
)
""",
    # Given, not selected: nets this small would keep steps that cost several times the rest, which better ones do not.
    "ensemble": """from unets.config import EnsembleConfig, Postprocessing

ENSEMBLE = EnsembleConfig(
    experiments=("small", "larger"),
    averaging="probability",
    weights="equal",
    threshold=0.5,
    postprocessing=Postprocessing(),
)
""",
}

# Seconds between two looks at a stage's memory. They begin short, or a stage of a second would not be seen at all, and
# double, because a look takes some 0.1 s.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
MIB, _GB = 2**20, 1e9

# Starts a stage and kills it after so many seconds (None: never); tells whether it was struck while at work.
Run = Callable[[str, float | None], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCost:
    """What a stage took."""

    stage: str
    seconds: float
    peak_mib: float  # of all its processes together, the most at a look, and no less than the next
    largest_mib: float  # of its largest process alone, resident, between looks too (VmHWM at the last look)
    disk_gb: float  # of the folders that it writes to, when it had ended


def main() -> None:
    """Lays out the images, runs the stages, prints and writes the tables."""
    args = _parse()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="rehearsal_"))
    print(f"working in {folder}; one that is cut short goes on with --folder {folder}", flush=True)
    costs_of: dict[int, list[StageCost]] = {}
    faults = list[str]()
    for number in args.images:
        root = lay_out(folder / str(number), args.input, number, args.full_size)
        written = (root / "models", root / "submissions")
        costs_of[number] = [run_watched(stage, partial(_start, root, stage), written) for stage in (*STAGES, CHECK)]
        unequal_rows = count_unequal(find_csv(root), len(list((root / "files").iterdir())))
        print(f"\n{number:,} images\n{render_costs(costs_of[number])}", flush=True)
        faults += [f"{unequal_rows} rows are unlike those of an equal image"] if unequal_rows else []
    if len(args.images) > 1:
        print(f"\n{render_growth(costs_of)}")
    kills = list[str]()
    if args.kills:
        number, struck = args.images[0], folder / "struck"
        shutil.rmtree(struck, ignore_errors=True)  # of a rehearsal that was cut short: its kills are lost
        lay_out(struck, args.input, number, args.full_size)
        seconds_of = {cost.stage: cost.seconds for cost in costs_of[number]}
        kills = strike(partial(run_stage, struck), seconds_of, args.kills, args.seed)
        unequal = compare_files(folder / str(number), struck)
        print(f"{len(kills)} kills ({', '.join(kills)}): {len(unequal)} files differ {unequal[:5]}")
        faults += (
            [f"{args.kills} kills must strike a stage at work, not {len(kills)}"] if len(kills) < args.kills else []
        )
        faults += ["kills must change no byte"] if unequal else []
    stages = {str(number): [asdict(cost) for cost in costs] for number, costs in costs_of.items()}
    write_json(args.out, {"origin": describe_origin(ROOT), "stages": stages, "kills": kills, "faults": faults})
    if args.folder is None:
        shutil.rmtree(folder)
    if faults:
        sys.exit(f"error: {'; '.join(faults)}; see above")


def lay_out(root: Path, input_dir: Path, num_images: int, full_hw: tuple[int, int] | None) -> Path:
    """Writes images and configs, if the folder is not there: it takes its name when it is whole.

    Args:
        root: gets `configs/`, `input/`, and `files/` for the few images that all others are hard links to.
        input_dir: images and csv masks in Carvana's layout, unpacked.
        num_images: test images, named as Carvana's are, sixteen views a car.
        full_hw: (height, width) that images and masks are shrunk to first; None leaves them as they are.

    Returns:
        `root`.
    """
    if root.exists():
        return root
    part = root.with_name(f".part-{root.name}")
    shutil.rmtree(part, ignore_errors=True)
    for kind in ("files", f"configs/{COMPETITION}", f"input/{COMPETITION}/train", f"input/{COMPETITION}/test"):
        (part / kind).mkdir(parents=True)
    rows = _read_rows(input_dir / "train_masks.csv")
    rows = rows[:: max(1, len(rows) // _NUM_FILES)][:_NUM_FILES]
    files, rles = [], []
    for index, (name, rle) in enumerate(rows):
        image = cv2.imread(str(input_dir / "train" / name))
        mask_hw = decode_rle(rle, image.shape[:2])
        if full_hw is not None:
            image = cv2.resize(image, full_hw[::-1], interpolation=cv2.INTER_AREA)
            mask_hw = cv2.resize(mask_hw.astype(np.uint8), full_hw[::-1], interpolation=cv2.INTER_NEAREST)
        files.append(part / "files" / f"{index}.jpg")
        rles.append(encode_rle(mask_hw > 0))
        if full_hw is None:
            shutil.copy(input_dir / "train" / name, files[-1])
        else:
            cv2.imwrite(str(files[-1]), image)
    data_dir = part / "input" / COMPETITION
    train_names = [f"{index // 16 + 0xFFFF:012x}_{index % 16 + 1:02d}.jpg" for index in range(_NUM_TRAIN)]
    test_names = [f"{index // 16:012x}_{index % 16 + 1:02d}.jpg" for index in range(num_images)]
    for kind, names in (("train", train_names), ("test", test_names)):
        for index, name in enumerate(names):
            os.link(files[index % len(files)], data_dir / kind / name)
    _write_rows(data_dir / "sample_submission.csv", ((name, "1 1") for name in test_names))
    _write_rows(data_dir / "train_masks.csv", zip(train_names, rles * (_NUM_TRAIN // len(rles) + 1), strict=False))
    contents = {**_CONFIGS, "larger": _CONFIGS["small"].replace("(96, 144)", "(128, 192)")}
    contents["dataset"] = contents["dataset"].replace("SIZE_HW", str(full_hw or image.shape[:2]))
    for name, text in contents.items():
        (part / "configs" / COMPETITION / f"{name}.py").write_text(text, encoding="utf-8")
    part.rename(root)
    return root


def count_unequal(csv_path: Path, num_files: int) -> int:
    """Counts the rows whose mask is not that of the first row with the same image, of `num_files` in turn."""
    csv.field_size_limit(2**31 - 1)
    first: dict[int, int] = {}
    unequal = 0
    with gzip.open(csv_path, "rt", newline="") as file:
        for index, row in enumerate(csv.DictReader(file)):
            mask = hash(row["rle_mask"])
            unequal += first.setdefault(index % num_files, mask) != mask
    return unequal


def strike(run: Run, seconds_of: Mapping[str, float], num_kills: int, seed: int) -> list[str]:
    """Runs the pipeline and kills it, with all its processes, at random moments.

    Moments are drawn over the whole time that the pipeline takes without kills. A moment that finds its stage ended,
    because what was made before a kill is not made again, is no kill: it is drawn again from the time of the stages to
    come. The last stage, which makes a submission again each time, is run again for it.

    Args:
        run: starts a stage, see `Run`.
        seconds_of: what each stage takes without kills.
        num_kills: that are to strike.
        seed: of the moments. A stage that is slower or faster than it was can make others of them strike.

    Returns:
        The stages that were struck while they ran, and when: fewer than `num_kills` after `MISSES` misses a kill.

    Raises:
        SystemExit: a stage failed by itself; it has said why.
    """
    rng, struck, misses = random.Random(seed), list[str](), 0
    ends_of = dict(zip(STAGES, accumulate(seconds_of[stage] for stage in STAGES), strict=True))
    total = ends_of[STAGES[-1]]
    pending = sorted(rng.uniform(0, total) for _ in range(num_kills))
    for stage, ends in ends_of.items():
        begins = ends - seconds_of[stage]
        while pending and pending[0] <= ends and misses < MISSES * num_kills:
            delay = max(pending[0] - begins, 0.0)
            if run(stage, delay):
                pending.pop(0)
                struck.append(f"{stage} after {delay:.1f} s")
                continue
            misses += 1
            late = [moment for moment in pending if moment <= ends]
            since = begins if stage == STAGES[-1] else ends
            pending = sorted([*(rng.uniform(since, total) for _ in late), *pending[len(late) :]])
        run(stage, None)
    return struck


def run_stage(root: Path, stage: str, delay: float | None) -> bool:
    """Starts a stage and kills it after `delay` seconds, if it is still at work; see `Run`."""
    process = _start(root, stage)
    with suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    is_running = process.poll() is None
    if is_running:
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    if code and not (is_running and code == -signal.SIGKILL):
        sys.exit(f"error: {stage} must succeed or be killed by us. Received: exit code {code}, see above")
    return bool(code)


def compare_files(a: Path, b: Path) -> list[str]:
    """Lists the maps, weights, csv and ensemble files that differ, by their names below the two folders."""
    contents_a, contents_b = ({path.relative_to(root): path for path in _list_outputs(root)} for root in (a, b))
    return [
        str(name)
        for name in sorted(contents_a.keys() | contents_b.keys())
        if name not in contents_a
        or name not in contents_b
        or contents_a[name].read_bytes() != contents_b[name].read_bytes()
    ]


def run_watched(stage: str, start: Callable[[], "subprocess.Popen[bytes]"], folders: Sequence[Path]) -> StageCost:
    """Runs a stage to its end and watches it.

    Args:
        stage: its name.
        start: starts its process, in a session of its own.
        folders: that it writes to.

    Raises:
        SystemExit: it failed; it has said why.
    """
    began, pause, process = time.monotonic(), _FIRST_PAUSE, start()
    peak = largest = 0.0
    try:
        while True:
            try:
                process.wait(pause)
                break
            except subprocess.TimeoutExpired:
                together, one = measure_family(process.pid)
                peak, largest = max(peak, together, one), max(largest, one)
                pause = min(2 * pause, _LONGEST_PAUSE)
    finally:
        if process.poll() is None:  # Ctrl-C does not reach another session
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        sys.exit(f"error: {stage} must succeed. Received: exit code {process.returncode}, see above")
    disk = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    return StageCost(
        stage=stage,
        seconds=time.monotonic() - began,
        peak_mib=peak / MIB,
        largest_mib=largest / MIB,
        disk_gb=disk / _GB,
    )


def measure_family(pid: int) -> tuple[float, float]:
    """Measures a process and all below it.

    Memory that processes share counts once: of their own (Pss_Anon, Pss_Shmem) each has its part. Of the libraries'
    files (RssFile), which strangers share too, those of the process with the most stand for all: PSS would say less the
    more other Pythons run on the machine.

    Returns:
        (bytes of all now; bytes that the largest has held at most), without what has ended.
    """
    own = files = largest = 0.0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return own, largest
    for process in family:
        folder = Path("/proc") / str(process.pid)
        try:
            rollup, status = _read_sizes(folder / "smaps_rollup"), _read_sizes(folder / "status")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended meanwhile
        own += rollup.get("Pss_Anon", 0) + rollup.get("Pss_Shmem", 0)
        files, largest = max(files, status.get("RssFile", 0)), max(largest, status.get("VmHWM", 0))
    return own + files, largest


def _read_sizes(path: Path) -> dict[str, int]:
    """Reads the lines `Name:  123 kB` of a file of /proc: bytes by name."""
    words = [line.split() for line in path.read_text().splitlines()]
    return {line[0].rstrip(":"): 1024 * int(line[1]) for line in words if len(line) == 3 and line[2] == "kB"}


def render_costs(costs: Sequence[StageCost]) -> str:
    """Lays out a line a stage, and one of all: seconds added, the highest peaks, the disk at the end."""
    header = ["stage", "seconds", "peak MiB, all processes", "peak MiB, largest one", "GB on disk"]
    total = StageCost(
        stage="all",
        seconds=sum(cost.seconds for cost in costs),
        peak_mib=max(cost.peak_mib for cost in costs),
        largest_mib=max(cost.largest_mib for cost in costs),
        disk_gb=costs[-1].disk_gb,
    )
    lines = [
        [
            cost.stage,
            f"{cost.seconds:.1f}",
            f"{cost.peak_mib:.0f}",
            f"{cost.largest_mib:.0f}",
            f"{cost.disk_gb:.3f}",
        ]
        for cost in (*costs, total)
    ]
    return render_table(header, lines, right=header[1:])


def find_csv(root: Path) -> Path:
    """Returns the submission."""
    (path,) = (root / "submissions").rglob("*.csv.gz")
    return path


def render_growth(costs_of: Mapping[int, Sequence[StageCost]]) -> str:
    """Lays out the largest process's peak of each stage at each number of images, and what it grew by."""
    header = ["peak MiB of", *(f"{number:,} images" for number in costs_of), "growth"]
    lines = []
    for costs in zip(*costs_of.values(), strict=True):
        peaks = [cost.largest_mib for cost in costs]
        lines.append([costs[0].stage, *(f"{peak:.0f}" for peak in peaks), f"{peaks[-1] - peaks[0]:.0f}"])
    return render_table(header, lines, right=header[1:])


def _list_outputs(root: Path) -> Iterator[Path]:
    names = ("*.zip", "best.weights.h5", "history.csv", "ensemble.json", "folds.csv")
    for name in names:
        yield from sorted((root / "models").rglob(name))
    yield find_csv(root)


def _start(root: Path, stage: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "unets", stage, COMPETITION, *OPTIONS.get(stage, ()), "--root", str(root)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}  # the same bits each time
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _read_rows(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["img"], row["rle_mask"]) for row in csv.DictReader(file)]


def _write_rows(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    path.write_text("".join(f"{name},{rle}\n" for name, rle in [("img", "rle_mask"), *rows]), encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=ROOT / "input/studio", help="a folder in Carvana's layout")
    parser.add_argument(
        "--images", type=_parse_numbers, default=[100_064], help="numbers of test images, with commas (default: 100064)"
    )
    parser.add_argument("--kills", type=int, default=0, help="of a second run, compared with the first (default: 0)")
    parser.add_argument("--seed", type=int, default=2017, help="of the moments of kills (default: 2017)")
    parser.add_argument("--full-size", type=_parse_size, help="HEIGHTxWIDTH that images are shrunk to first")
    parser.add_argument("--folder", type=Path, help="where to work, kept (default: deleted at the end)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/out/rehearsal.json")
    return parser.parse_args()


def _parse_numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _parse_size(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


if __name__ == "__main__":
    main()
