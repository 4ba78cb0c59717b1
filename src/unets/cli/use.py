"""Subcommands that use a trained model, anywhere: say what it is, make masks, write it for other programs."""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from unets.cli import backend
from unets.cli.options import RUNS, VERBOSE, Out, argument, option
from unets.cli.stage import Stage
from unets.cli.subcommand import command
from unets.errors import InputError

if TYPE_CHECKING:
    from unets.export.sources import ModelSource

logger = logging.getLogger(__name__)
Model = Annotated[
    Path,
    argument("a run's or an experiment's folder, an ensemble's json beside its runs, or a model file", metavar="MODEL"),
]


@command("use", "unets mask mine.safetensors images/ --out masks/ --overlay", takes=VERBOSE)
def mask(
    model: Model,
    images: Annotated[list[Path], argument("images, and folders with some", metavar="IMAGE...")],
    out: Annotated[Path, option("the folder that masks go to", "--out")],
    cutout: Annotated[bool, option("also the object alone, all else transparent (png)", "--cutout")] = False,
    overlay: Annotated[bool, option("also the image with the mask's contours (jpg)", "--overlay")] = False,
    as_stored: Annotated[
        bool,
        option("do not turn images as their orientation tag says (training does not)", "--as-stored"),
    ] = False,
    overwrite: Annotated[bool, option("replace files that another model made", "--overwrite")] = False,
) -> None:
    """Makes masks of images of any size and format; those that are there are kept."""
    from unets.export.masking import make_masks, plan_masks
    from unets.export.sources import open_model
    from unets.export.tasks import plan_tasks

    source = open_model(model)
    tasks = plan_tasks(images, out, cutout=cutout, overlay=overlay)
    plan = plan_masks(source, tasks, upright=not as_stored, overwrite=overwrite)
    if not plan.todo:
        print(f"{out}: all {len(tasks)} masks are there")
        return
    backend.load_backend()
    from unets.export.trained import TrainedModel

    outcome = make_masks(plan, TrainedModel(source))
    for failure in outcome.failures:
        logger.error("no mask: %s", failure.reason)
    if outcome.num_stretched:
        logger.warning(
            "%d images have other proportions than the %d x %d that the model was trained on; nets saw them stretched",
            *(outcome.num_stretched, *(source.card.image_hw or (0, 0))),
        )
    kept = f", {plan.num_kept} were there" if plan.num_kept else ""
    print(f"{out}: {outcome.num_made} masks made{kept}")
    if outcome.failures:
        raise InputError(
            f"`images` must be whole and of a known format. Received: {len(outcome.failures)} of {len(tasks)} that are "
            f"not, see above"
        )


@command("use", "unets info mine.safetensors", "unets info models/studio/ensemble.json --json", takes=VERBOSE)
def info(model: Model, json: Annotated[bool, option("the whole card as JSON", "--json")] = False) -> None:
    """Says what a model is: classes, members, threshold, score, origin."""
    from unets.export.card import render_card
    from unets.export.sources import open_model

    card = open_model(model).card
    print(card.to_json() if json else render_card(card))


@command(
    "use",
    "unets export mine",
    "unets export mine -e unet_512 --formats all",
    "unets export mine.safetensors --formats onnx --out files/",
    takes=RUNS,
    rule=False,
)
def export(
    stage: Stage,
    formats: Annotated[
        str, option("all, or with commas of model, keras, onnx, litert (default: model)", "--formats")
    ] = "model",
    num_images: Annotated[
        int, option("out-of-fold images to compare each file on (default: 128)", "--num-images")
    ] = 128,
    out: Out = None,
) -> None:
    """Writes the ensemble as one file, which `unets mask` takes anywhere; with --formats for other programs too.

    With --exp one file an experiment, the mean of its folds. Files for other programs hold one net, of the first of the
    folds asked for; they are compared on images that it did not see, and export.md says what each costs and reaches. In
    place of a competition any model may be named: a run's folder, an ensemble's json, a model file.
    """
    from unets.export.formats import check_formats
    from unets.export.sources import open_model

    chosen = check_formats(formats)
    model = Path(stage.project.competition)
    is_model = model.exists() and not (stage.project.configs_dir / "dataset.py").is_file()
    sources = [open_model(model)] if is_model else find_sources(stage)
    backend.load_backend()
    from unets.export.exporting import export_models
    from unets.export.oof_images import find_oof_images

    if is_model and out is None:
        raise InputError("`--out` must name a folder for the files of a model. Received: none")
    compared = () if is_model else (partial(find_oof_images, stage.project, stage.dataset, num_images),)
    for path in export_models(sources, out or stage.project.export_dir, chosen, *compared):
        print(path)


def find_sources(stage: Stage) -> "list[ModelSource]":
    """Opens the ensemble, or each of the experiments of --exp."""
    from unets.export.sources import open_ensemble, open_runs

    project = stage.project
    if stage.has_all:
        made = stage.read_ensemble()
        sources = [open_ensemble(project.ensemble_path(made.name), made, stage.experiments)]
    else:
        sources = [open_runs([project.run_dir(name, fold) for fold in folds]) for name, folds in stage.folds_of.items()]
    card = {"competition": project.competition}
    return [replace(source, card=source.card.model_copy(update=card)) for source in sources]
