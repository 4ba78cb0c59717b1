"""The card: what only a GPU can show, in less than 12 minutes, in parts that are processes with a budget each.

correctness      the demo model's maps against the CPU's; a training that stops and goes on has the same bits
speed_640x959    a training step against `torch.compile`, both in bfloat16
speed_1280x1918  the same at full size
prediction       images a second from files to maps, against the bare forward pass
memory           of a training step: predicted against measured
training         the first net for the minutes that are left, with its out-of-fold score

The json is written after each part: a kill loses one part.

Run:  unets render --train-cars 24 --test-cars 1 --input input/card     (beforehand, anywhere: 40 MB)
      PYTHONPATH=src python benchmarks/card.py --input input/card --out docs/results/card.json
      python benchmarks/card.py --smoke                                 (all of it on a CPU, at small sizes)
      python benchmarks/card.py --page                                  (docs/results/card.md)

It needs Linux, JAX, PyTorch and what `unets` needs but TensorFlow, which it cannot import; no network. To a machine
that has JAX and PyTorch alone carry this repository, the images, and wheels of keras, pydantic, tensorboardX and what
these need.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, load_dataset, load_experiment
from unets.config.overrides import name_experiment, override
from unets.tables import Table

ROOT = Path(__file__).resolve().parent.parent
RESULT, PAGE = ROOT / "docs" / "results" / "card.json", ROOT / "docs" / "results" / "card.md"
# Nets without pretrained weights, so that nothing need be carried and PyTorch has the same.
EXPERIMENTS = {
    "unet_640x959": ExperimentConfig(
        data=DataConfig(size_hw=(640, 959), batch_size=16),
        model=ModelConfig(depth=5, base_filters=32),
        prediction=PredictionConfig(batch_size=16),
    ),
    "unet_1280x1918": ExperimentConfig(
        data=DataConfig(size_hw=(1280, 1918), batch_size=4),
        model=ModelConfig(depth=6, base_filters=24),
        prediction=PredictionConfig(batch_size=4),
    ),
}
SIZES = tuple(EXPERIMENTS)
_SMALL = ("data.size_hw=64x96", "data.batch_size=2", "model.depth=1", "model.base_filters=4")
# Maps of a card, in bfloat16, against those of a CPU in float32: mean difference of probabilities, Dice of the masks.
_MOST_APART, _LEAST_ALIKE = 0.002, 0.998
_START_SECONDS = 90.0  # of the training: compilation, the first look at the images, out-of-fold maps
_EPOCHS = 8
_TRAINED_SHARE = 0.7  # of the other seconds
_NO_TENSORFLOW = 'raise ModuleNotFoundError("TensorFlow is kept out", name="tensorflow")\n'

Args = argparse.Namespace
Found = dict[str, Any]


def main() -> None:
    """Runs all parts, or the one that is asked for."""
    args = _parse()
    if args.page:
        PAGE.write_text(render_page(json.loads(RESULT.read_text()) if RESULT.is_file() else None), encoding="utf-8")
    elif args.part:
        found = PARTS[args.part](args)
        if "tensorflow" in sys.modules:
            sys.exit(f"error: {args.part} must not load TensorFlow. Received: it did")
        print(json.dumps(found))
    else:
        with tempfile.TemporaryDirectory(prefix="unets-card-") as work:
            run_all(args, Path(work))


def run_all(args: Args, work: Path) -> None:
    """Runs each part in a process of its own, within its budget, and writes what there is after each."""
    from unets.store.provenance import describe_origin
    from unets.store.runs import write_json

    args.work, began = work, time.monotonic()
    (work / "without").mkdir()
    (work / "without" / "tensorflow.py").write_text(_NO_TENSORFLOW)
    if not args.smoke:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(work / "compiled")
    else:
        from unets.studio.competition import write_competition

        args.input = work / "input"
        write_competition(args.input, 4, 1, seed=0, size_hw=(64, 96))
        os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # compiling is what takes the time
    os.environ |= {
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": os.pathsep.join([str(work / "without"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # parts that run at once share the card
    }
    record: Found = {"origin": describe_origin(ROOT), "is_smoke": args.smoke, "parts": {}}
    for name, budget in BUDGETS.items():
        left = 60 * args.minutes - (time.monotonic() - began)
        args.seconds = left if name == "training" or args.smoke else min(budget, left)
        start = time.monotonic()
        found = run_part(name, args, args.seconds) if args.seconds > 0 else {"failed": "no time was left"}
        record["parts"][name] = {**found, "seconds": round(time.monotonic() - start, 1)}
        print(f"{name}: {record['parts'][name]}", flush=True)
        write_json(args.out, record)
    if failed := [name for name, found in record["parts"].items() if "failed" in found]:
        sys.exit(f"error: all parts must succeed. Received: {', '.join(failed)} did not")


def run_part(name: str, args: Args, seconds: float | None = None, **environment: str) -> Found:
    """Runs a part in a process, with all that it starts; returns what it found, or why it failed.

    Without `seconds` it is a part of a part: it ends with that one, and its failure is raised.
    """
    words = [sys.executable, __file__, "--part", name, "--input", str(args.input), "--work", str(args.work)]
    words += ["--seconds", str(args.seconds), *["--smoke"] * args.smoke]
    log = args.work / f"{name}.log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=os.environ | environment,
            start_new_session=seconds is not None,
        ) as process,
    ):
        try:
            said, _ = process.communicate(timeout=seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL) if seconds is not None else process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                return {"failed": f"it took more than {seconds:g} s"}
            raise
    if process.returncode:
        sys.stderr.write(log.read_text()[-4000:])
        if seconds is None:
            sys.exit(f"error: {name} must succeed. Received: exit code {process.returncode}")
        return {"failed": (log.read_text().strip().splitlines() or ["killed"])[-1]}
    return dict(json.loads(said.splitlines()[-1]))


def choose(args: Args, name: str, *settings: str) -> ExperimentConfig:
    """Returns one of the two experiments with other settings, small where it is a smoke test."""
    return override(EXPERIMENTS[name], name_experiment(name, (*settings, *_SMALL * args.smoke)))


def measure_correctness(args: Args) -> Found:
    """Compares the demo model's maps with those of a CPU, and a training that went on with one that was not stopped."""
    cpu = run_part("maps", args, JAX_PLATFORMS="cpu", CUDA_VISIBLE_DEVICES="-1")
    own = run_part("maps", args)
    ours, theirs = (np.load(found["path"]) for found in (own, cpu))
    masks = [(ours[name] > 0.5, theirs[name] > 0.5) for name in ours.files]
    apart = [float(np.abs(ours[name] - theirs[name]).mean()) for name in ours.files]
    largest = [float(np.abs(ours[name] - theirs[name]).max()) for name in ours.files]
    alike = [float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1)) for a, b in masks]
    order = {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true",
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # a run that goes on may be compiled elsewhere
    }
    run_part("begin", args, None, **order)
    resumed = run_part("resume", args, None, **order)
    return {
        "device": own["device"],
        "against": cpu["device"],
        "precision": own["precision"],
        "images": len(alike),
        "mean_difference": max(apart),
        "largest_difference": max(largest),
        "least_dice": min(alike),
        "within_tolerance": max(apart) <= _MOST_APART and min(alike) >= _LEAST_ALIKE,
        **resumed,
    }


def make_maps(args: Args) -> Found:
    """Writes the demo model's probabilities of the examples, and of some images at hand."""
    from unets import load_model
    from unets.nets.backend import choose_precision, describe_device

    model, path = load_model("demo"), args.work / f"maps_{os.getpid()}.npz"
    photos = [*sorted((ROOT / "examples").glob("*.jpg")), *sorted((args.input / "train").glob("*.jpg"))[::16][:8]]
    maps: dict[str, Any] = {photo.stem: model.probs(photo) for photo in photos}
    np.savez(path, **maps)
    return {"path": str(path), "device": describe_device(), "precision": choose_precision("auto")}


def begin(args: Args) -> Found:
    """Makes four steps, and keeps the state after two and after all."""
    learner, step = _build_steps(args)
    for number in range(4):
        if number == 2:
            np.savez(args.work / "half.npz", **learner.read_state())
        step(number)
    np.savez(args.work / "whole.npz", **learner.read_state())
    return {}


def resume(args: Args) -> Found:
    """Goes on after two steps, in a new process, and counts the arrays of the state that have other bits."""
    learner, step = _build_steps(args)
    with np.load(args.work / "half.npz") as half:
        learner.write_state(half)
    learner.restore_metrics()
    for number in (2, 3):
        step(number)
    state = learner.read_state()
    with np.load(args.work / "whole.npz") as whole:
        differing = [key for key, value in state.items() if value.tobytes() != whole[key].tobytes()]
    return {"resumed_arrays": len(state), "resumed_differing": len(differing)}


def _build_steps(args: Args) -> tuple[Any, Callable[[int], object]]:
    """Returns a deterministic learner, and what trains it on the n-th batch."""
    from unets.config import DatasetConfig
    from unets.training.learner import build_learner

    experiment = choose(args, SIZES[0], "training.deterministic=true", "data.size_hw=320x480", "data.batch_size=4")
    learner = build_learner(experiment, DatasetConfig(), updates_per_epoch=10)

    def step(number: int) -> None:
        images = _draw(experiment, np.random.default_rng(number))
        learner.train_on_batch(images, images[..., :1])

    return learner, step


def _draw(experiment: ExperimentConfig, rng: np.random.Generator) -> Any:
    data = experiment.data
    return rng.integers(0, 256, (data.batch_size, *data.size_hw, 3), dtype=np.uint8)


def measure_speed(args: Args, name: str) -> Found:
    """Compares a training step with PyTorch's; at the first size their nets too, in float32."""
    from training_speed import measure_training_steps

    frameworks = [("jax", "auto"), ("torch", "mixed_bfloat16")]
    if name == SIZES[0]:
        frameworks = [("jax", "float32"), ("jax", "auto"), ("torch", "float32"), ("torch", "mixed_bfloat16")]
    rows = measure_training_steps(choose(args, name), 1 if args.smoke else 20, sys.executable, frameworks)
    return {"batch_size": choose(args, name).data.batch_size, "rows": [asdict(row) for row in rows]}


def measure_prediction(args: Args) -> Found:
    """Compares the whole prediction with one image after the other, and with the net alone."""
    import bench

    from unets.dataset.manifest import read_manifest
    from unets.store.paths import Project

    dataset, experiment = _load_dataset(), choose(args, SIZES[0])
    project = Project.below(args.work / "prediction", "card", input_dir=args.input)
    samples = read_manifest(project, dataset).train
    seconds, count = (1, 8) if args.smoke else (20, 256)
    return {"rows": [asdict(row) for row in bench.measure_prediction(samples, dataset, experiment, seconds, count)]}


def measure_memory(args: Args) -> Found:
    """Compares the peak of training steps with what was predicted, for a quarter of the batch and all of it."""
    import resource

    import jax

    from unets.config import DatasetConfig
    from unets.training.learner import build_learner
    from unets.training.memory import measure_machine, measure_training

    experiment, is_gpu = choose(args, SIZES[0]), measure_machine().is_gpu

    def find_peak() -> int:
        if is_gpu:
            return int(jax.devices()[0].memory_stats()["peak_bytes_in_use"])
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    before = 0 if is_gpu else find_peak()
    learner = build_learner(experiment, DatasetConfig(), updates_per_epoch=10)
    memory, images, rows = measure_training(learner, is_gpu=is_gpu), _draw(experiment, np.random.default_rng(0)), []
    for count in sorted({max(len(images) // 4, 1), len(images)}):
        for _ in range(2):
            learner.train_on_batch(images[:count], images[:count, ..., :1])
        found = memory.measure(count), find_peak() - before
        rows.append({"images": count, "predicted_gib": found[0] / 2**30, "measured_gib": found[1] / 2**30})
    return {"rows": rows}


def find_pace(args: Args) -> Found:
    """Times a training step, and the change of an image."""
    from unets.training.memory import measure_machine
    from unets.training.speed import measure_speed

    experiment, is_gpu = choose(args, SIZES[0]), measure_machine().is_gpu
    step = experiment.data.batch_size
    speed = measure_speed(experiment, _load_dataset(), (), micro_batch=step, is_gpu=is_gpu)
    both = speed.train_seconds, speed.augment_seconds
    return {"image_seconds": max(both) if is_gpu else sum(both)}


def train(args: Args) -> Found:
    """Trains the first fold for the seconds that are left, and evaluates it out-of-fold."""
    from unets.evaluation.results import record_experiment
    from unets.store.paths import Project
    from unets.store.provenance import describe_origin

    began = time.monotonic()
    pace = run_part("pace", args)["image_seconds"]
    left = _TRAINED_SHARE * (args.seconds - (time.monotonic() - began) - _START_SECONDS)
    steps = max(int(left / pace / choose(args, SIZES[0]).data.batch_size / _EPOCHS), 1)
    steps = min(steps, 4) if args.smoke else steps
    settings = (f"training.epochs={_EPOCHS}", f"training.steps_per_epoch={steps}", *_SMALL * args.smoke)
    project = Project.below(args.work / "project", "card", input_dir=args.input.absolute())
    project.configs_dir.mkdir(parents=True)
    loads = "from pathlib import Path\n\nfrom unets.config import ExperimentConfig, load_dataset\n\n"
    fields = {"size_hw": None, "num_folds": 4}
    studio = f'DATASET = load_dataset(Path("{ROOT}/configs/studio")).model_copy(update={fields})\n'
    (project.configs_dir / "dataset.py").write_text(loads + studio)
    own = f"EXPERIMENT = ExperimentConfig.model_validate({EXPERIMENTS[SIZES[0]].model_dump(exclude_unset=True)})\n"
    (project.configs_dir / f"{SIZES[0]}.py").write_text(loads + own)
    name = name_experiment(SIZES[0], settings)
    where = ["--root", str(args.work / "project"), "--input", str(project.input_dir)]
    for words in (["split"], ["train", "-e", name, "-f", "0"], ["predict", "-e", name, "-f", "0"]):
        subprocess.run([sys.executable, "-m", "unets", words[0], "card", *words[1:], *where], check=True, stdout=2)
    experiment = load_experiment(project.configs_dir, name)
    path = record_experiment(project, load_dataset(project.configs_dir), name, experiment, describe_origin(ROOT))
    kept = json.loads(path.read_text())
    facts = {"name": name, "metric": kept["metric"], "score": kept["oof"]["mean"], "images": kept["num_images"]}
    return {**facts, "groups": kept["num_groups"], "hours": kept["cost"]["training_hours"], "image_seconds": pace}


def _load_dataset() -> Any:
    return load_dataset(ROOT / "configs" / "studio").model_copy(update={"size_hw": None})


BUDGETS = {  # seconds; the training gets what is left
    "correctness": 130.0,
    "speed_640x959": 160.0,
    "speed_1280x1918": 120.0,
    "prediction": 60.0,
    "memory": 70.0,
    "training": 0.0,
}
PARTS: dict[str, Callable[[Args], Found]] = {
    "correctness": measure_correctness,
    "maps": make_maps,
    "begin": begin,
    "resume": resume,
    "speed_640x959": lambda args: measure_speed(args, SIZES[0]),
    "speed_1280x1918": lambda args: measure_speed(args, SIZES[1]),
    "prediction": measure_prediction,
    "memory": measure_memory,
    "pace": find_pace,
    "training": train,
}


def render_page(record: Found | None) -> str:
    """Renders docs/results/card.md; `record` is None where there is none yet."""
    lines = [
        "# On a card",
        "",
        "Written by `benchmarks/card.py --page` from the json beside it; nothing here is typed. It says what each",
        f"part measures. Maps may differ by {_MOST_APART} in the mean, their masks have Dice {_LEAST_ALIKE} at least.",
        "",
    ]
    if record is None:
        return "\n".join([*lines, "Not yet run.", ""])
    for name, found in record["parts"].items():
        rows = found.get("rows", [found])
        header = tuple(key for key, value in next(iter(rows), {}).items() if not isinstance(value, list | dict))
        cells = [tuple(f"{v:.5g}" if isinstance(v, float) else str(v) for v in map(row.get, header)) for row in rows]
        lines += [f"## {name}, {found['seconds']:.0f} s", "", Table(header=header, rows=tuple(cells)).to_markdown()]
    return "\n".join([*lines, f"{record['origin']['date']}, commit {record['origin']['git_commit']}.", ""])


def _parse() -> Args:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=ROOT / "input/card", help="rendered images, see above")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/out/card.json")
    parser.add_argument("--minutes", type=float, default=11.5, help="of all parts together (default: 11.5)")
    parser.add_argument("--smoke", action="store_true", help="all of it at small sizes, on a CPU")
    parser.add_argument(
        "--page", action="store_true", help="only render docs/results/card.md from docs/results/card.json"
    )
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not (args.smoke or args.page or (args.input / "train").is_dir()):
        parser.error(f"`--input` must hold rendered images. Received: {args.input}. Run `unets render`")
    return args


if __name__ == "__main__":
    main()
