"""Speed and memory as ratios, measured in one run: two ways in turn, so that a busy machine slows both.

Run:  make bench INPUT=<a folder in Carvana's layout>   (default: input/studio, which `make render` makes)
      python benchmarks/bench.py --only training --torch-python <an interpreter that has PyTorch>

Seconds, memory and disk of whole stages, at any number of images: benchmarks/rehearsal.py.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from measure import Row, compare, format_rows, time_rounds
from public import encode_public_rle, load_public_batch
from rehearsal import COMPETITION, lay_out, run_watched, start_unets
from training_speed import list_cases, measure_training_steps

from unets.config import AugmentConfig, DatasetConfig, ExperimentConfig, load_dataset, load_experiment
from unets.data.cache import DiskReader, PairReader, open_reader
from unets.data.rle import encode_rle
from unets.data.samples import Sample, read_full_size, read_image, read_mask
from unets.dataset.manifest import read_manifest
from unets.ensemble.recipe import Recipe, make_mask
from unets.store.paths import Project
from unets.store.provenance import describe_origin
from unets.store.runs import write_json
from unets.workers.pool import map_ahead

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("reading", "encoding", "training", "prediction", "submission", "load")
SIZE_HW = (640, 959)
BATCH_SIZE, WORKERS = 8, 2
_NUM_IMAGES, _NUM_PUBLIC = 64, 16  # images read a round; the public loop is slow, so it gets fewer
_NUM_PREDICTED = 32  # images a round
_MEMBERS = 2  # of the submission's ensemble


def main() -> None:
    """Measures, prints one table, and writes the same as JSON."""
    args = _parse()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    configs_dir = ROOT / "configs" / "carvana"
    dataset, small = load_dataset(configs_dir), load_experiment(configs_dir, "unet_cpu")
    models_dir = Path(tempfile.mkdtemp(prefix="unets-bench-"))
    project = Project.below(Path(), "bench", input_dir=args.input, models_dir=models_dir)
    samples = read_manifest(project, dataset).train
    parts: dict[str, Callable[[], Iterable[Row]]] = {
        "reading": lambda: measure_reading(samples, dataset, args.seconds),
        "encoding": lambda: measure_encoding(samples, args.seconds),
        "training": lambda: (
            row for case in list_cases(small) for row in measure_training_steps(case, args.seconds, args.torch_python)
        ),
        "prediction": lambda: measure_prediction(samples, dataset, small, args.seconds),
        "submission": lambda: measure_submission(samples, dataset, args.seconds),
        "load": lambda: measure_load(args.input),
    }
    load_before, rows = os.getloadavg()[0], list[Row]()
    for part in args.only:
        for row in parts[part]():
            rows.append(row)
            print(f"{row.what}: {row.ratio:.2f} ({row.quartiles[0]:.2f} to {row.quartiles[1]:.2f})", flush=True)
    machine = {"system": platform.platform(), "cores": os.cpu_count(), "load_before": round(load_before, 2)}
    print(f"\n{machine}; {args.input}\n\n{format_rows(rows)}")
    record = {"origin": describe_origin(ROOT), "machine": machine, "input": str(args.input)}
    write_json(args.out, {**record, "rows": [asdict(row) for row in rows]})
    print(f"\nwritten: {args.out}")


def measure_reading(samples: Sequence[Sample], dataset: DatasetConfig, seconds: float) -> Iterator[Row]:
    """Compares training images a second at 640 x 959 with augmentation: decoded every time, and from memory."""
    chosen = pick_evenly(samples, _NUM_IMAGES)
    pairs = [(sample.image_path, sample.mask_paths[0]) for sample in chosen[:_NUM_PUBLIC]]

    def load_public(round_: int) -> None:
        rng = np.random.default_rng(round_)
        for start in range(0, len(pairs), BATCH_SIZE):
            load_public_batch(pairs[start : start + BATCH_SIZE], SIZE_HW, rng)

    ways = {
        "public": load_public,
        "cold": _make_epoch(DiskReader(chosen, dataset, SIZE_HW), len(chosen)),
        "cached": _make_epoch(open_reader(chosen, dataset, SIZE_HW, "ram", Path("unused")), len(chosen)),
    }
    taken = time_rounds(ways, seconds)
    public = [round_ * len(chosen) / len(pairs) for round_ in taken["public"]]
    for name, aim in (("cold", 4.0), ("cached", 8.0)):
        yield compare(f"training images, {name}", taken[name], public, unit="1/s", count=len(chosen), aim=aim)


def measure_encoding(samples: Sequence[Sample], seconds: float) -> Iterator[Row]:
    """Compares CPU ms a mask, each way on the same mask in turn, as it is when it was just made: in the CPU's cache.

    Ours and the public one give the final string. pycocotools gives its compressed counts in column order; what it
    would take to turn those into 1-based pairs in row order is not charged to it.

    Raises:
        RuntimeError: the encoders disagree on a mask that both can encode.
    """
    from pycocotools import mask as coco

    masks = [read_mask(sample) for sample in pick_evenly(samples, _NUM_IMAGES)]
    times: dict[str, list[float]] = {"ours": [], "public": [], "coco": []}
    for mask_hw in masks:
        # The pipeline's masks are bool, the others' uint8: the same bytes.
        mask_bool, touches_corner = mask_hw.view(bool), bool(mask_hw.flat[0] or mask_hw.flat[-1])
        if not touches_corner and encode_rle(mask_bool) != encode_public_rle(mask_hw):
            raise RuntimeError("the two encoders must agree on masks that they both can encode")
        ways = {
            "ours": lambda _, mask=mask_bool: encode_rle(mask),
            "public": lambda _, mask=mask_hw: encode_public_rle(mask),
            "coco": lambda _, mask=mask_hw: coco.encode(np.asfortranarray(mask)),
        }
        for name, taken in time_rounds(ways, seconds / len(masks), clock=time.thread_time).items():
            times[name] += taken
    yield compare("run lengths / public encoder", times["ours"], times["public"], unit="ms", aim=3.0)
    yield compare("run lengths / pycocotools", times["ours"], times["coco"], unit="ms", aim=1.0)


def measure_prediction(
    samples: Sequence[Sample],
    dataset: DatasetConfig,
    experiment: ExperimentConfig,
    seconds: float,
    num_images: int = _NUM_PREDICTED,
) -> Iterator[Row]:
    """Compares images a second from files to probability maps on disk, with a net of random weights.

    The baseline reads an image, calls the same nets and flips on it alone, writes its map, and goes on to the next.
    The forward pass gets as many images, in batches that are in memory.
    """
    import keras

    from unets.nets.unet import build_unet
    from unets.prediction.loading import load_predictor
    from unets.prediction.pipeline import plan_job, run_jobs

    chosen, size_hw = pick_evenly(samples, num_images), experiment.data.size_hw
    folder = Path(tempfile.mkdtemp(prefix="unets-bench-"))
    weights_path = folder / "fold0" / "net.weights.h5"
    weights_path.parent.mkdir()
    keras.utils.set_random_seed(0)
    build_unet(experiment.model, size_hw, dataset).save_weights(weights_path)
    rounds = count()
    predictor = load_predictor([weights_path], experiment, size_hw, dataset)

    def predict_pipeline(_: int) -> None:
        place = folder / f"round{next(rounds)}"
        job = plan_job("net", experiment, dataset, {0: weights_path}, place, chosen, what="bench", command="")
        run_jobs([job])
        shutil.rmtree(place)

    def predict_alone(_: int) -> None:
        place = folder / "alone"
        place.mkdir(exist_ok=True)
        for sample in chosen:
            mean = predictor(read_image(sample, size_hw)[None])[0]
            for index, layer_hw in enumerate(np.moveaxis(mean[0], -1, 0)):
                cv2.imwrite(str(place / f"{sample.id}_{index}.png"), layer_hw)

    batch = np.stack([read_image(sample, size_hw) for sample in chosen[: predictor.batch_size]])

    def predict_bare(_: int) -> None:
        for start in range(0, len(chosen), len(batch)):
            predictor(batch[: len(chosen) - start])

    taken = time_rounds({"ours": predict_pipeline, "alone": predict_alone, "bare": predict_bare}, seconds)
    shutil.rmtree(folder)
    for what, way, aim in (("image by image", "alone", 1.0), ("forward pass alone", "bare", 0.5)):
        yield compare(f"prediction / {what}", taken["ours"], taken[way], unit="1/s", count=len(chosen), aim=aim)


def measure_submission(samples: Sequence[Sample], dataset: DatasetConfig, seconds: float) -> Iterator[Row]:
    """Compares ms an image from the 8-bit maps of two nets to its run lengths, one process each.

    The baseline enlarges each map, takes the mean, applies the threshold, and encodes as public repositories do.
    """
    rng = np.random.default_rng(0)
    sizes = [read_full_size(sample, dataset) for sample in pick_evenly(samples, _NUM_PREDICTED)]
    maps = []
    for _ in range(_MEMBERS):
        coarse = rng.random((10, 15), dtype=np.float32)
        maps.append(np.rint(255 * np.clip(cv2.resize(coarse, (480, 320)), 0, 1)).astype(np.uint8)[..., None])
    recipe = Recipe(weights=(1 / _MEMBERS,) * _MEMBERS)

    def encode_ours(_: int) -> None:
        for full_hw in sizes:
            encode_rle(make_mask(recipe, maps, full_hw) == 1)

    def encode_public(_: int) -> None:
        for height, width in sizes:
            enlarged = [cv2.resize(one[..., 0].astype(np.float32) / 255, (width, height)) for one in maps]
            encode_public_rle((np.mean(enlarged, axis=0) > 0.5).astype(np.uint8))

    taken = time_rounds({"ours": encode_ours, "public": encode_public}, seconds)
    yield compare("submission / public", taken["ours"], taken["public"], unit="ms", count=len(sizes), aim=1.0)


def measure_load(input_dir: Path) -> Iterator[Row]:
    """Compares the peak memory at ten times the images: of import and check of 50,000 small ones, of masks of 500."""
    folder = Path(tempfile.mkdtemp(prefix="unets-bench-"))
    peaks: dict[str, list[float]] = {"import": [], "check": [], "mask": []}
    for number in (50, 500, 5_000, 50_000):
        root = lay_out(folder / str(number), input_dir, number, (64, 96))
        masks = ("demo", root / "input" / COMPETITION / "test", "--out", root / "masks")
        for stage in ("mask",) if number <= 500 else ("import", "check"):
            words = masks if stage == "mask" else (COMPETITION, "--root", root)
            peaks[stage].append(run_watched(stage, partial(start_unets, stage, *words), ()).largest_mib)
    shutil.rmtree(folder)
    for stage, (fewer, more) in peaks.items():
        ratio, what = fewer / more, f"memory of {stage} / of a tenth of the images"
        yield Row(what=what, ours=more, baseline=fewer, unit="MiB", ratio=ratio, quartiles=(ratio, ratio), aim=0.5)


def pick_evenly(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Picks samples spread over the whole list; all where there are fewer."""
    return list(samples[:: max(1, -(-len(samples) // most))])


def _make_epoch(reader: PairReader, num_images: int) -> Callable[[int], None]:
    """Returns what runs one epoch of training batches, prepared by threads ahead of their consumer as Keras has it."""
    from unets.data.batches import Batches

    batches = Batches(
        reader, range(num_images), micro_batch=BATCH_SIZE, augment_config=AugmentConfig(), shuffle=True, workers=WORKERS
    )

    def run(epoch: int) -> None:
        batches.start_epoch(epoch)
        for _ in map_ahead(batches.__getitem__, range(len(batches)), workers=WORKERS, ahead=WORKERS):
            pass

    return run


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=ROOT / "input/studio", help="a folder in Carvana's layout")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/out/bench.json")
    parser.add_argument("--only", default=",".join(PARTS), help=f"among {','.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=45, help="of each measurement (default: 45)")
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter that has PyTorch")
    args = parser.parse_args()
    args.only = args.only.split(",")
    if unknown := [part for part in args.only if part not in PARTS]:
        parser.error(f"`--only` must be among {', '.join(PARTS)}. Received: {unknown[0]}")
    if not (args.input / "train").exists() and not (args.input / "train.zip").exists():
        parser.error(f"`--input` must hold images in Carvana's layout. Received: {args.input}. Run `make render`")
    return args


if __name__ == "__main__":
    main()
