"""What each choice of the compact net is worth: one change at a time, paired on the same held-out images.

Every run is a real one, through the `unets` command, and is kept: a second call goes on where the first stopped.
Test images are neither predicted for a score nor scored. The runs are short, so that they say what pays at a small
budget; a choice that needs long training to pay is not shown by them.

Run:  python benchmarks/ablation.py --input <images of some 50 cars, in Carvana's layout> --models <a folder>
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig, load_dataset
from unets.errors import InputError
from unets.evaluation.compare import Comparison, compare
from unets.store.paths import Project
from unets.store.provenance import describe_origin

ROOT = Path(__file__).resolve().parent.parent
COMPETITION = "carvana"
FOLD = "0"

BASE = ExperimentConfig(
    data=DataConfig(size_hw=(192, 288), batch_size=2),
    model=ModelConfig(
        encoder="efficientnet_lite0", weights="imagenet", stride=2, depth=4, base_filters=16, max_filters=128
    ),
    training=TrainingConfig(epochs=1, learning_rate=5e-3, encoder_rate=0.1, warmup=0.1, clip_norm=1.0, ema=0.99),
    prediction=PredictionConfig(batch_size=8),
    folds=(0,),
)
BASE_NAME = "base"


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A run that differs from another by what is tried."""

    name: str
    what: str  # in words, for the table
    changes: Mapping[str, Mapping[str, Any]]  # of the other's config, by section and field
    against: str = BASE_NAME


LARGER_HW = (384, 576)
VARIANTS = (
    Variant(
        name="rate_1", what="encoder as fast as the decoder, not a tenth", changes={"training": {"encoder_rate": 1.0}}
    ),
    Variant(name="frozen", what="encoder frozen", changes={"training": {"frozen_epochs": 1.0}}),
    Variant(
        name="random",
        what="random weights, not ImageNet's",
        changes={"model": {"weights": "none"}, "training": {"encoder_rate": 1.0}},
    ),
    Variant(name="batch_4", what="batches of 4, not 2", changes={"data": {"batch_size": 4}}),
    Variant(name="batch_1", what="batches of 1, not 2", changes={"data": {"batch_size": 1}}),
    Variant(name="as_read", what="no augmentation", changes={"data": {"augment": None}}),
    Variant(name="no_ema", what="no mean of weights", changes={"training": {"ema": None}}),
    Variant(name="hard", what="hard targets, not soft ones", changes={"data": {"targets": "hard"}}),
    Variant(name="bce", what="loss bce, not bce + dice", changes={"training": {"loss": "bce"}}),
    Variant(name="bce_log_dice", what="loss bce + log_dice", changes={"training": {"loss": {"bce": 1, "log_dice": 1}}}),
    Variant(name="border", what="loss border_bce + dice", changes={"training": {"loss": {"border_bce": 1, "dice": 1}}}),
    Variant(name="focal", what="loss focal", changes={"training": {"loss": "focal"}}),
    Variant(
        name="wide", what="twice the decoder's channels", changes={"model": {"base_filters": 32, "max_filters": 256}}
    ),
    Variant(name="stride_4", what="finest level at a quarter, not half", changes={"model": {"stride": 4, "depth": 3}}),
    Variant(
        name="larger",
        what="384 x 576 from base's weights",
        changes={"data": {"size_hw": LARGER_HW}, "training": {"start_from": BASE_NAME, "learning_rate": 2e-3}},
    ),
    Variant(
        name="again",
        what="192 x 288 from base's weights",
        changes={"training": {"start_from": BASE_NAME, "learning_rate": 2e-3}},
        against="larger",
    ),
    Variant(
        name="late_hard",
        what="384 x 576 from base's weights, hard targets",
        changes={
            "data": {"size_hw": LARGER_HW, "targets": "hard"},
            "training": {"start_from": BASE_NAME, "learning_rate": 2e-3},
        },
        against="larger",
    ),
)


def main() -> None:
    """Trains what is missing, and writes the table."""
    args = _parse()
    variants = [variant for variant in VARIANTS if args.only is None or variant.name in args.only]
    configs_dir = args.models / "root" / "configs" / COMPETITION
    write_configs(configs_dir)
    _run("check", args)
    _run("split", args)
    project = Project(
        competition=COMPETITION,
        input_dir=args.input,
        models_dir=args.models,
        configs_dir=configs_dir,
        submissions_dir=args.models / "root" / "submissions",
        results_dir=args.models / "root" / "results",
    )
    metric, compared = load_dataset(configs_dir).metric, []
    _train(BASE_NAME, args)
    for variant in variants:
        _train(variant.name, args)
        compared.append((variant, compare(project, metric, variant.against, variant.name)))
        text = render(compared, _describe_base(project), json.dumps(describe_origin(ROOT)))
        args.out.write_text(text, encoding="utf-8")  # after each: a stop leaves the page of what is known
    print(text)


def write_configs(folder: Path) -> None:
    """Writes the competition's dataset, and a config file for each run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.py").write_text((ROOT / "configs" / COMPETITION / "dataset.py").read_text(encoding="utf-8"))
    for name, experiment in {BASE_NAME: BASE, **{variant.name: vary(variant) for variant in VARIANTS}}.items():
        fields = repr(experiment.model_dump(mode="json"))
        (folder / f"{name}.py").write_text(
            f"from unets.config import ExperimentConfig\n\nEXPERIMENT = ExperimentConfig.model_validate({fields})\n"
        )


def vary(variant: Variant) -> ExperimentConfig:
    """Returns the config of a variant: BASE with its changes."""
    fields = BASE.model_dump(mode="json")
    for section, changes in variant.changes.items():
        fields[section] = fields[section] | changes
    return ExperimentConfig.model_validate(fields)


def render(compared: list[tuple[Variant, Comparison]], base: str, origin: str) -> str:
    """Renders the page."""
    header = ["what is tried", "against", "images", "minutes", "Dice", "difference", "images better"]
    lines = [
        [
            variant.what,
            variant.against,
            str(cost.images) if (cost := comparison.b.cost) else "",
            f"{60 * cost.training_hours:.1f}" if cost else "",
            f"{comparison.b.mean:.5f}",
            str(comparison.difference) + ("" if comparison.difference.excludes_zero else ", not shown"),
            f"{100 * comparison.share_better:.0f} %",
        ]
        for variant, comparison in compared
    ]
    first = compared[0][1]
    table = "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *lines])
    return (
        "# What each choice is worth\n\n"
        "Written by `benchmarks/ablation.py`; nothing here is typed. One fold of real cars; differences are paired, "
        f"image by image, on {first.num_images} held-out images of {first.num_groups} cars, at full size, flips "
        "averaged, with a 95 % interval over cars. Minutes are of training, on a machine that did other work beside "
        "it: upper bounds. What starts from base's weights has its own images and minutes alone.\n\n"
        f"{base}\n\n{table}\n\nOrigin: `{origin}`\n"
    )


def _describe_base(project: Project) -> str:
    same = compare(project, load_dataset(project.configs_dir).metric, BASE_NAME, BASE_NAME).a
    fields = ", ".join(
        f"{section}.{name}={value}"
        for section, values in BASE.model_dump(mode="json", exclude_defaults=True).items()
        if isinstance(values, dict)
        for name, value in values.items()
    )
    cost = f", {same.cost.images} images, {60 * same.cost.training_hours:.1f} minutes" if same.cost else ""
    return f"`base`: Dice {same.mean:.5f}{cost}; {fields}."


def _train(name: str, args: argparse.Namespace) -> None:
    """Trains and predicts, where that is not done."""
    _run("train", args, "--exp", name, "--fold", FOLD)
    _run("predict", args, "--exp", name, "--fold", FOLD)


def _run(stage: str, args: argparse.Namespace, *more: str) -> None:
    """Runs a stage.

    Raises:
        InputError: it failed; it has said why.
    """
    command = [sys.executable, "-m", "unets", stage, COMPETITION, "--root", str(args.models / "root")]
    command += ["--input", str(args.input), "--models", str(args.models), *more]
    if subprocess.run(command, check=False).returncode != 0:
        raise InputError(f"{stage} must succeed. Received: a failure, see above")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="images and masks in Carvana's layout")
    parser.add_argument("--models", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "ablation.md")
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of variants with commas")
    args = parser.parse_args()
    unknown = set(args.only or ()) - {variant.name for variant in VARIANTS}
    if unknown:
        parser.error(f"`--only` must be among {', '.join(v.name for v in VARIANTS)}. Received: {unknown}")
    return args


if __name__ == "__main__":
    main()
