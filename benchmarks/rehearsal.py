"""The whole pipeline at full scale: what each stage takes, how memory grows, and that kills change no byte.

A few images are repeated under new ids by hard links: equal images must give equal rows. Stages are `unets` commands in
processes of their own, watched from outside. With kills, further folders get the same pipeline, whose stages are struck
by SIGKILL while they write, and started again, and must end with the same bytes; as many pipelines as the kills take.

Run:  python benchmarks/rehearsal.py --input <a folder in Carvana's layout> --images 1000,10000,100064
      python benchmarks/rehearsal.py --input ... --images 5000 --kills 10
      python benchmarks/rehearsal.py --input ... --folder <of one that was cut short>   (goes on with it)
"""

import argparse
import csv
import gzip
import json
import multiprocessing
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import psutil

from unets import decode_rle, encode_rle
from unets.cli import main as main_of_unets
from unets.store.provenance import describe_origin
from unets.store.runs import write_json
from unets.tables import render_table

ROOT = Path(__file__).resolve().parent.parent
_STRIKING = ROOT / "benchmarks" / "striking"
_ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
COMPETITION = "crowd"
STAGES = ("import", "check", "split", "train", "predict", "ensemble", "pseudo-labels", "report", "submission")
OPTIONS = {"pseudo-labels": ("--name", "first", "--confidence", "0"), "report": ("--top", "8")}
CHECK = "check-submission"
# Of one run of the pipeline; where most of the time is the start of TensorFlow, fewer.
_KILLS_OF = dict.fromkeys(STAGES, 16) | dict.fromkeys(("train", "predict", "pseudo-labels"), 3)
_FEW_WRITES = 12
_WRITTEN = ("models", "submissions")  # folders that stages write to
# What is not compared: files that tell of time alone, and what the others tell of time, starts and the folder's place.
_OF_TIME = ("stages.jsonl", "cost.csv", "live.html", "tensorboard.json", "events/*")
_TIME = re.compile(
    rb'"(seconds|date|seal|starts|input|account\.csv)": [^,}\n]*|\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?'
    rb'|<(td class="num"|dd)>\d+\.\d\d(?=<)|[\d.]+ (s|min|h)(?=</dd>)'  # hours of training and stages in a report
    rb"|:\d{19}\b"  # when a mask was drawn, in account.csv, whose hash is in import.json
)
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
    model=ModelConfig(depth=2, base_filters=8, stride=2),
    training=TrainingConfig(epochs=4, learning_rate=1e-2),
)
""",
    # Given, not selected: nets this small would keep steps that cost several times the rest, which better ones do not.
    "ensemble": """from unets.config import EnsembleConfig, Postprocessing

ENSEMBLE = EnsembleConfig(
    experiments=("small", "larger"),
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
    folder = (args.folder or Path(tempfile.mkdtemp(prefix="rehearsal_"))).absolute()
    print(f"working in {folder}; one that is cut short goes on with --folder {folder}", flush=True)
    costs_of: dict[int, list[StageCost]] = {}
    faults = list[str]()
    for number in args.images:
        root = lay_out(folder / str(number), args.input, number, args.full_size)
        written, counted = tuple(root / kind for kind in _WRITTEN), root / "written"
        counted.mkdir(exist_ok=True)
        costs_of[number] = []
        if (known := root / "costs.json").exists():  # one that was cut short
            costs_of[number] = [StageCost(**cost) for cost in json.loads(known.read_text())]
        for stage in (*STAGES, CHECK) if not costs_of[number] else ():
            start = partial(_start, root, stage, counter=str(counted / stage))
            costs_of[number].append(run_watched(stage, start, written))
        write_json(known, [asdict(cost) for cost in costs_of[number]])
        unequal_rows = count_unequal(find_csv(root), len(list((root / "files").iterdir())))
        print(f"\n{number:,} images\n{render_costs(costs_of[number])}", flush=True)
        faults += [f"{unequal_rows} rows are unlike those of an equal image"] if unequal_rows else []
    if len(args.images) > 1:
        print(f"\n{render_growth(costs_of)}")
    kills_path, plain = folder / "kills.txt", folder / str(args.images[0])
    kills = kills_path.read_text().splitlines() if kills_path.exists() else []
    seconds_of = {cost.stage: cost.seconds for cost in costs_of[args.images[0]]}
    writes_of = {stage: (plain / "written" / stage).stat().st_size for stage in STAGES}
    for turn in range(2 * args.kills):  # one that strikes nothing costs nothing but time
        if faults or len(kills) >= args.kills:
            break
        struck = folder / f"struck{len(kills)}"
        if not (struck / "kills.txt").exists():
            shutil.rmtree(struck, ignore_errors=True)
            for kind in ("configs", "input"):
                shutil.copytree(plain / kind, struck / kind, copy_function=os.link)
        rng = random.Random(args.seed + turn + len(kills))
        more = strike(struck, seconds_of, writes_of, args.kills - len(kills), rng)
        unequal = compare_files(plain, struck)
        print(f"{len(kills)} + {len(more)} kills: {len(unequal)} files differ {unequal[:5]}", flush=True)
        if unequal:
            faults.append(f"kills must change no byte. Received: {', '.join(unequal)} after {', '.join(more)}")
        else:
            kills += more
            shutil.rmtree(struck)
            kills_path.write_text("".join(f"{kill}\n" for kill in kills))
    for stage in STAGES if kills else ():
        moments = sorted(int(kill.split()[3]) for kill in kills if kill.startswith(f"{stage} "))
        print(f"{stage}: {len(moments)} kills, at writes {moments} of {writes_of[stage]}")
    if len(kills) < args.kills:
        faults.append(f"{args.kills} kills must strike a stage at work, not {len(kills)}")
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
        image = np.asarray(cv2.imread(str(input_dir / "train" / name)))
        mask_hw = decode_rle(rle, image.shape[:2])
        if full_hw is not None:
            image = np.asarray(cv2.resize(image, full_hw[::-1], interpolation=cv2.INTER_AREA))
            mask_hw = np.asarray(cv2.resize(mask_hw, full_hw[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
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


def strike(
    root: Path, seconds_of: Mapping[str, float], writes_of: Mapping[str, int], num_kills: int, rng: random.Random
) -> list[str]:
    """Runs the pipeline and kills some of its stages, each with all its processes, until each ended by itself.

    The clock of a kill is what the stage writes, so that it strikes work and no start: it comes at the n-th write, or
    in half of the cases a little later.

    Args:
        root: holds `configs/` and `input/`.
        seconds_of: what each stage takes without kills.
        writes_of: how often each stage writes without kills.
        num_kills: at most; those that find their stage ended are none.
        rng: draws stages, as often as `_KILLS_OF` says at most, and moments.

    Returns:
        The stages that were struck, and when.

    Raises:
        SystemExit: a stage failed by itself; it has said why.
    """
    plan = Counter(rng.sample(STAGES, min(num_kills, sum(_KILLS_OF.values())), counts=_KILLS_OF.values()))
    noted = root / "kills.txt"  # stages that were struck, and those that ended: one cut short goes on
    struck = noted.read_text().splitlines() if noted.exists() else []

    def note(line: str) -> None:
        struck.append(line)
        noted.write_text("".join(f"{line}\n" for line in struck))

    for stage in STAGES:
        plan[stage] -= sum(kill.startswith(f"{stage} at") for kill in struck)
        if f"{stage} ended" in struck:
            continue
        number, written = writes_of[stage], 0
        for left in range(plan[stage], 0, -1):
            # Evenly over what a stage that goes on has left to write; one of few writes begins again.
            reach = max(min(number, _FEW_WRITES), 2 * (number - written) // (left + 1))
            at = rng.randint(1, reach)
            pause = rng.choice((0, rng.random() ** 4)) * seconds_of[stage] / number if at + 1 < number else 0
            if not _run_stage(root, stage, at, pause):
                break
            written += (root / "counted").stat().st_size
            note(f"{stage} at write {at} of {number} and {pause:.3f} s")
        else:
            _run_stage(root, stage)
        note(f"{stage} ended")
    return [kill for kill in struck if not kill.endswith("ended")]


def _run_stage(root: Path, stage: str, at: int = 0, pause: float = 0) -> bool:
    """Runs a stage, killed `pause` seconds after it wrote so many times (0: never); returns whether it was killed."""
    counter = root / "counted"
    counter.unlink(missing_ok=True)
    words, environment = _describe_start(root, stage, counter=str(counter), at=at, pause=pause)
    # Forked from a process that has loaded the libraries, which takes most of a short stage's time.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tensorflow", "keras", "pandas", "scipy.stats", "sklearn.metrics", "typer", "cv2"])
    os.environ |= _ON_CPU
    process = server.Process(target=_work, args=(words, environment))
    process.start()
    process.join()
    if (code := process.exitcode) and not (at and code == -signal.SIGKILL):
        sys.exit(f"error: {stage} must succeed or be killed by us. Received: exit code {code}, see above")
    return bool(code)


def _work(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Is a stage, in a session and process of its own."""
    os.setsid()
    os.environ |= environment
    sys.argv = ["unets", *words]
    runpy.run_path(str(_STRIKING / "sitecustomize.py"))  # it watches from now on
    main_of_unets()


def compare_files(a: Path, b: Path) -> list[str]:
    """Lists the files that differ, by their names below the two folders, but for what they tell of time."""
    contents = [
        {
            path.relative_to(root): _read_timeless(path)
            for kind in _WRITTEN
            for path in (root / kind).rglob("*")
            if path.is_file() and not any(map(path.match, _OF_TIME))
        }
        for root in (a, b)
    ]
    names = sorted(contents[0].keys() | contents[1].keys())
    return [str(name) for name in names if contents[0].get(name) != contents[1].get(name)]


def _read_timeless(path: Path) -> bytes:
    if path.suffix == ".npz":  # the last state, whose history has seconds
        content = b"".join(name.encode() + array.tobytes() for name, array in np.load(path).items())
    else:
        content = path.read_bytes()
    return _TIME.sub(b"", content) if path.suffix in (".csv", ".json", ".html", ".npz") else content


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


def start_unets(*words: object, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """Starts a command in a session of its own, on the CPU: the same bits each time."""
    environment = {**os.environ, **(environment or {}), **_ON_CPU}
    return subprocess.Popen([sys.executable, "-m", "unets", *map(str, words)], env=environment, start_new_session=True)


def _start(root: Path, stage: str, counter: str) -> "subprocess.Popen[bytes]":
    """Starts a stage that counts what it writes."""
    words, environment = _describe_start(root, stage, counter)
    return start_unets(*words, environment=environment)


def _describe_start(
    root: Path, stage: str, counter: str, at: int = 0, pause: float = 0
) -> tuple[list[str], dict[str, str]]:
    """Returns words and environment of a stage that counts, and is killed at a write; see striking/sitecustomize.py."""
    asked = {"folders": [f"{root / kind}/" for kind in _WRITTEN], "counter": counter, "at": at, "pause": pause}
    path = os.pathsep.join([str(_STRIKING), os.environ.get("PYTHONPATH", "")])
    environment = {"UNETS_REHEARSAL": json.dumps(asked), "PYTHONPATH": path}
    return [stage, COMPETITION, *OPTIONS.get(stage, ()), "--root", str(root)], environment


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
    parser.add_argument("--kills", type=int, default=0, help="of further runs, compared with the first (default: 0)")
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
