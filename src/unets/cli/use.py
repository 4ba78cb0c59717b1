"""Subcommands that use a trained model, anywhere: say what it is, make masks, write it for other programs."""

import logging
import sys
from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from unets import cli
from unets.cli.stage import Stage, command
from unets.errors import InputError
from unets.log import format_count

if TYPE_CHECKING:
    from unets.export.model import TrainedModel

logger = logging.getLogger(__name__)


@command(
    "unets mask demo examples/",
    "unets mask mine.safetensors images/ --out masks/ --cutout --format coco",
    "unets mask mine.safetensors - --background white < a.jpg > a_white.jpg",
)
def mask(
    model: Path,
    images: list[Path],
    out: Path | None = None,
    cutout: bool = False,
    overlay: bool = False,
    background: str = "",
    format_: str = "png",
    json: bool = False,
    as_stored: bool = False,
    overwrite: bool = False,
) -> None:
    """Makes masks of images of any size and format; those that are there are kept.

    Of one image, or of - (stdin), one file is made: the mask, or else what one of the options asks for. Images whose
    masks are unlike those of training images are named.
    """
    from unets.export.masking import PIPE, Wanted, mask_file, mask_folder
    from unets.export.sources import open_model

    out = out or (PIPE if images == [PIPE] else Path("masks"))
    is_one = PIPE in (out, *images) or (
        images[0].is_file() and out.suffix != "" and not out.is_dir() and not images[1:]
    )
    if is_one and (len(images) > 1 or images[0].is_dir()):
        raise InputError("`images` must be one image where --out is -. Received: several")
    if out == PIPE and (json or sys.stdout.isatty()):
        why = "with --json, which writes to stdout" if json else "where stdout is a terminal"
        raise InputError(f"`--out` must be a file or a folder {why}. Received: -")
    opened = open_model(model)
    wanted = Wanted(
        cutout=cutout,
        overlay=overlay,
        background=background,
        labels="" if format_ == "png" else format_,
        upright=not as_stored,
        overwrite=overwrite,
    )
    make = partial(mask_file, opened, images[0]) if is_one else partial(mask_folder, opened, images)
    outcome = make(out, wanted, cli.load_backend)
    num_made = len(outcome.masked) - outcome.num_kept
    if json:
        for found in outcome.describe():
            print(dumps(found))
    elif is_one:
        sys.stdout.write(f"{out}\n" if out != PIPE else "")
    elif outcome.num_kept and not num_made:
        print(f"{out}: all {outcome.num_kept} masks are there")
    else:
        kept = f", {outcome.num_kept} there before" if outcome.num_kept else ""
        print(f"{out}: {format_count(num_made, 'mask')} made{kept}")
    for line in outcome.list_warnings():
        logger.warning(line)
    if outcome.failures:
        raise InputError(
            f"`images` must be whole and of a known format. Received: {len(outcome.failures)} of "
            f"{len(outcome.masked) + len(outcome.failures)} that are not, see above"
        )


@command(
    "unets info mine.safetensors", "unets info models/studio/ensemble.json --json", "unets info demo --out demo.jpg"
)
def info(model: Path, json: bool = False, out: Path | None = None) -> None:
    """Says what a model is: classes, members, threshold, score, origin; --out writes its picture."""
    from unets.export.card import render_card
    from unets.export.sources import open_model

    if out is not None and out.suffix.lower() not in (".jpg", ".jpeg"):
        raise InputError(f"`--out` must end in .jpg, as a card's picture is a JPEG. Received: {out}")
    card = open_model(model).card
    if out is not None and not card.picture:
        raise InputError(
            f"`MODEL` must have a picture for --out. Received: {model}. `unets export --picture` gives one"
        )
    if out is not None:
        out.write_bytes(b64decode(card.picture))
    print(card.to_json() if json else render_card(card))


@command("unets serve demo", "unets serve mine.safetensors --port 8080")
def serve(model: Path, port: int = 8000) -> None:
    """Opens a page on this machine: drop an image, see its mask and cut-out, keep them. Ctrl-C ends it."""
    if missing := [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]:
        raise InputError(f"`unets serve` needs `pip install '.[serve]'`. Received: no {missing[0]}")
    from unets.export.serve import build_server, listen
    from unets.export.sources import load_model

    with listen(port) as listening, suppress(KeyboardInterrupt):
        server = build_server(load_model(model))
        print(f"http://127.0.0.1:{listening.getsockname()[1]}/  (Ctrl-C ends it)", flush=True)
        server.run(sockets=[listening])


@command("unets labels mine.safetensors images/ --out labels/ --format coco")
def labels(model: Path, images: list[Path], out: Path = Path("labels"), format_: str = "labelme") -> None:
    """Annotates images for a labeling tool, those that the model is least sure of first; `unets new` reads them."""
    from unets.export.labels import check_empty, write_annotated
    from unets.export.masking import Wanted, mask_folder
    from unets.export.sources import open_model

    if format_ not in ("labelme", "coco"):
        raise InputError(f"`--format` must be labelme or coco. Received: {format_}")
    check_empty(out)
    opened = open_model(model)
    with TemporaryDirectory() as folder:
        outcome = mask_folder(opened, images, Path(folder), Wanted(), cli.load_backend)
        write_annotated(outcome.masked, opened.classes, format_, out)
    for line in outcome.list_warnings():
        logger.warning(line)
    count = format_count(len(outcome.masked), "image")
    print(f"{out}: {count} with annotations, the hardest first; labels.csv has the order")
    print(f"next: correct them, then `unets new {out} --name NAME`")


@command(
    "unets export mine",
    "unets export mine -e unet_512 --formats all",
    "unets export mine.safetensors --formats onnx --out files/",
    runs=True,
    rule=False,
)
def export(
    stage: Stage, formats: str = "model", num_images: int = 128, picture: Path | None = None, out: Path | None = None
) -> None:
    """Writes the ensemble as one file, which `unets mask` takes anywhere; with --formats for other programs too.

    With --exp one file an experiment, the mean of its folds. Files for other programs hold one net, of the first of the
    folds asked for; they are compared on images that it did not see, and export.md says what each costs and reaches. In
    place of a competition any model may be named: a run's folder, an ensemble's json, a model file. Whoever gets the
    file sees the image of --picture.
    """
    from unets.export.programs import check_formats
    from unets.export.sources import open_model

    chosen = check_formats(formats)
    model = Path(stage.project.competition)
    is_model = (model.exists() or model == Path("demo")) and not (stage.project.configs_dir / "dataset.py").is_file()
    if is_model and out is None:
        raise InputError("`--out` must name a folder for the files of a model. Received: none")
    models = [open_model(model)] if is_model else _open_models(stage)
    cli.load_backend()
    from unets.export.exporting import export_models
    from unets.export.oof import find_oof_images
    from unets.export.pictures import draw_example

    if picture is not None:
        for opened in models:
            opened.card = opened.card.model_copy(update={"picture": draw_example(opened, picture)})
    compared = () if is_model else (partial(find_oof_images, stage.project, stage.dataset, num_images),)
    for path in export_models(models, out or stage.project.export_dir, chosen, *compared):
        print(path)
    if not is_model and "model" in chosen:
        print(
            f"next: `unets mask {(out or stage.project.export_dir) / models[0].card.name}.safetensors IMAGES --cutout`"
        )


def _open_models(stage: Stage) -> "Sequence[TrainedModel]":
    """Opens the ensemble, or each of the experiments of --exp, and measures what their usual masks are like."""
    from unets.export.oof import find_usual
    from unets.export.sources import open_ensemble, open_runs

    project, models = stage.project, {}
    if stage.has_all:
        made = stage.read_ensemble()
        models[made.name] = open_ensemble(project.ensemble_path(made.name), made, stage.experiments)
    else:
        for name, folds in stage.chosen_folds.items():
            models[name] = open_runs([project.run_dir(name, fold) for fold in folds])
    for name, model in models.items():
        told = {"competition": project.competition, "usual": find_usual(project, stage.dataset, name)}
        model.card = model.card.model_copy(update=told)
    return list(models.values())
