"""What each choice of a net is worth: one change at a time, paired on the same held-out images, as means over seeds.

Every run is a real one, through the `unets` command, and is kept: a second call goes on where the first stopped.
Test images are neither predicted for a score nor scored. The runs are short, so that they say what pays at a small
budget; a choice that needs long training to pay is not shown by them.

Run:  python benchmarks/ablation.py NAME=FOLDER ... --models <a folder> --seeds 3

FOLDER is a data set's INPUT, `<configs>/NAME/dataset.py` says how it is read. The page has a table for each data set.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unets.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    PredictionConfig,
    TrainingConfig,
    list_experiments,
    load_dataset,
    load_experiment,
)
from unets.errors import InputError
from unets.evaluation.compare import Comparison, Side, compare
from unets.store.paths import Project
from unets.store.provenance import describe_origin

ROOT = Path(__file__).resolve().parent.parent
FOLD = "0"
_PIXELS = 192 * 288  # of an image that the net sees
_MULTIPLE_PX = 32

BASE = ExperimentConfig(
    data=DataConfig(size_hw=(192, 288), batch_size=2),  # other proportions for other data sets
    model=ModelConfig(
        encoder="efficientnet_lite0", weights="imagenet", stride=2, depth=4, base_filters=16, max_filters=128
    ),
    training=TrainingConfig(
        epochs=1,
        steps_per_epoch=256,
        learning_rate=5e-3,
        encoder_rate=0.1,
        warmup=0.1,
        clip_norm=1.0,
        ema=0.99,
        keep="last",
        validation_images=8,
    ),
    prediction=PredictionConfig(batch_size=8),
    folds=(0,),
)
BASE_NAME = "base"


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A run that differs from base by what is tried."""

    name: str
    what: str  # in words, for the table
    changes: Mapping[str, Mapping[str, Any]]  # of base's config, by section and field


_MORE = {"training": {"start_from": BASE_NAME, "learning_rate": 2e-3}}
VARIANTS = (
    Variant(name="as_read", what="no augmentation", changes={"data": {"augment": None}}),
    *(
        Variant(name=name, what=f"augmentation: {what}", changes={"data": {"augment": {name: value}}})
        for name, what, value in (
            ("elastic_px", "elastic distortion of 6 pixels", 6.0),
            ("blur", "blur, of a fifth", 0.2),
            ("noise", "noise, of a fifth", 0.2),
            ("jpeg", "JPEG, of a fifth", 0.2),
            ("dropout", "coarse dropout, of a third", 0.33),
            ("cutmix", "CutMix, of a third", 0.33),
            ("copy_paste", "copy-paste, of a third", 0.33),
        )
    ),
    Variant(name="hard", what="hard targets, not soft ones", changes={"data": {"targets": "hard"}}),
    *(
        Variant(name=name, what=f"loss {what}, not bce + dice", changes={"training": {"loss": loss}})
        for name, what, loss in (
            ("bce", "bce", "bce"),
            ("log_dice", "bce + log_dice", {"bce": 1, "log_dice": 1}),
            ("border", "border_bce + dice", {"border_bce": 1, "dice": 1}),
            ("focal", "focal + dice", {"focal": 1, "dice": 1}),
            ("tversky", "bce + tversky", {"bce": 1, "tversky": 1}),
            ("boundary", "bce + dice + boundary / 10", {"bce": 1, "dice": 1, "boundary": 0.1}),
        )
    ),
    Variant(
        name="lovasz",
        what="loss bce / 2 + dice / 2 + lovasz, hard targets",
        changes={"data": {"targets": "hard"}, "training": {"loss": {"bce": 0.5, "dice": 0.5, "lovasz": 1}}},
    ),
    Variant(name="no_ema", what="no mean of weights", changes={"training": {"ema": None}}),
    Variant(name="rate_1", what="encoder as fast as the decoder", changes={"training": {"encoder_rate": 1.0}}),
    Variant(name="frozen", what="encoder frozen", changes={"training": {"frozen_epochs": 1.0}}),
    Variant(
        name="random", what="random weights", changes={"model": {"weights": "none"}, "training": {"encoder_rate": 1.0}}
    ),
    Variant(
        name="batch_4",
        what="batches of 4, half the steps",
        changes={"data": {"batch_size": 4}, "training": {"steps_per_epoch": 128}},
    ),
    Variant(
        name="wide", what="twice the decoder's channels", changes={"model": {"base_filters": 32, "max_filters": 256}}
    ),
    Variant(name="stride_4", what="finest level at a quarter", changes={"model": {"stride": 4, "depth": 3}}),
    Variant(name="again", what="as long again from base's weights", changes=_MORE),
)


def main() -> None:
    """Trains what is missing, and writes the page after each variant: a stop leaves what is known."""
    args = _parse()
    sections = dict[str, str]()
    for name, _, folder in (given.partition("=") for given in args.sets):
        project = Project.below(args.models / "root", name, input_dir=Path(folder))
        write_configs(args.configs / name, project.configs_dir)
        for stage in ("import", "check", "split"):
            _run(stage, project, args.models)
        metric, compared = load_dataset(project.configs_dir).metric, []
        for variant in (None, *VARIANTS):
            label = BASE_NAME if variant is None else variant.name
            if variant is not None and args.only is not None and label not in args.only:
                continue
            for stage in ("train", "predict"):
                _run(stage, project, args.models, "--exp", label, "--fold", FOLD, "--seeds", str(args.seeds))
            if variant is not None:
                compared.append((variant, compare(project, metric, BASE_NAME, label, num_seeds=args.seeds)))
                sections[name] = render_section(project, compared, args.seeds)
                args.out.write_text(render(sections, json.dumps(describe_origin(ROOT))), encoding="utf-8")


def write_configs(source: Path, folder: Path) -> None:
    """Writes the data set's config, and one for each run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.py").write_text((source / "dataset.py").read_text(encoding="utf-8"))
    size_hw = load_dataset(source).size_hw or load_experiment(source, list_experiments(source)[0]).data.size_hw
    factor = math.sqrt(_PIXELS / (size_hw[0] * size_hw[1]))
    base = BASE.model_dump(mode="json")
    base["data"]["size_hw"] = [max(round(side * factor / _MULTIPLE_PX), 1) * _MULTIPLE_PX for side in size_hw]
    for name, changes in {BASE_NAME: {}, **{variant.name: variant.changes for variant in VARIANTS}}.items():
        fields = repr(vary(base, changes).model_dump(mode="json"))
        (folder / f"{name}.py").write_text(
            f"from unets.config import ExperimentConfig\n\nEXPERIMENT = ExperimentConfig.model_validate({fields})\n"
        )


def vary(base: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]]) -> ExperimentConfig:
    """Returns a config with changes; those of the augmentation are added to the usual one."""
    fields = dict(base)
    for section, changed in changes.items():
        fields[section] = fields[section] | changed
    return ExperimentConfig.model_validate(fields)


def render(sections: Mapping[str, str], origin: str) -> str:
    """Renders the page."""
    intro = (
        "# What each choice is worth\n\n"
        "Written by `benchmarks/ablation.py`; nothing here is typed. One fold, the same steps for all; differences are "
        "paired, image by image, of means over seeds, at full size, flips averaged, with a 95 % interval over groups "
        "of images. Minutes are of training, a run."
    )
    return "\n\n".join([intro, *sections.values(), f"Origin: `{origin}`"]) + "\n"


def render_section(project: Project, compared: Sequence[tuple[Variant, Comparison]], num_seeds: int) -> str:
    """Renders what is known of a data set."""
    first = compared[0][1]
    header = ["what is tried", "minutes", first.metric, "difference from base", "of each seed", "images better"]
    rows = [
        [
            variant.what,
            _tell_minutes(comparison.b, num_seeds),
            f"{comparison.b.mean:.5f}",
            str(comparison.difference) + ("" if comparison.difference.excludes_zero else ", not shown"),
            ", ".join(f"{gain:+.4f}" for gain in comparison.by_seed),
            f"{100 * comparison.share_better:.0f} %",
        ]
        for variant, comparison in compared
    ]
    table = "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])
    base = load_experiment(project.configs_dir, BASE_NAME).model_dump(mode="json", exclude_defaults=True)
    fields = ", ".join(
        f"{section}.{name}={value}"
        for section, values in base.items()
        if isinstance(values, dict)
        for name, value in values.items()
    )
    return (
        f"## {project.competition}\n\n`base`: {first.metric} {first.a.mean:.5f} on {first.num_images} held-out images "
        f"of {first.num_groups} groups, {num_seeds} seeds, {_tell_minutes(first.a, num_seeds)} minutes; {fields}."
        f"\n\n{table}"
    )


def _tell_minutes(side: Side, num_seeds: int) -> str:
    return f"{60 * side.cost.training_hours / num_seeds:.1f}" if side.cost else ""


def _run(stage: str, project: Project, models_dir: Path, *more: str) -> None:
    """Runs a stage.

    Raises:
        InputError: it failed; it has said why.
    """
    command = [sys.executable, "-m", "unets", stage, project.competition, "--root", str(models_dir / "root")]
    if subprocess.run([*command, "--input", str(project.input_dir), *more], check=False).returncode != 0:
        raise InputError(f"{stage} must succeed. Received: a failure, see above")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER", help="data sets")
    parser.add_argument("--configs", type=Path, default=ROOT / "configs", help="where NAME/dataset.py are")
    parser.add_argument("--models", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "ablation.md")
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of variants with commas")
    args = parser.parse_args()
    unknown = set(args.only or ()) - {variant.name for variant in VARIANTS}
    if unknown:
        parser.error(f"`--only` must be among {', '.join(v.name for v in VARIANTS)}. Received: {unknown}")
    return args


if __name__ == "__main__":
    main()
