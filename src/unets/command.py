"""The `unets` command: what a trained model is used by, anywhere, without the repository around.

    unets info MODEL
    unets mask MODEL photos... --out DIR
    unets export MODEL --out DIR

Results go to stdout, all else to stderr. It exits with 0, with 1 where something given was at fault (of `mask`, where a
single photo was), with 2 for a wrong option, with 130 at Ctrl-C.
"""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from unets import __version__, cli
from unets.errors import InputError
from unets.export.card import render_card
from unets.export.formats import FORMATS
from unets.export.sources import open_model
from unets.log import set_up_logging

logger = logging.getLogger(__name__)

_MODEL_HELP = "a run's or an experiment's folder, an ensemble's json beside its runs, or a model file"


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command and exits."""
    args = build_parser().parse_args(argv)
    set_up_logging(args.verbose)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", module="PIL")  # of notes in photos that are not as they should be
    work: Callable[[argparse.Namespace], None] = args.work
    cli.guard(lambda: work(args), verbose=args.verbose)
    sys.exit(0)


def build_parser() -> argparse.ArgumentParser:
    """Builds the command's arguments."""
    parser = argparse.ArgumentParser(prog="unets", description="Uses a trained segmentation model.")
    parser.add_argument("--version", action="version", version=f"unets {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    mask = _add(commands, "mask", mask_photos, "make masks of photos of any size and format")
    mask.add_argument("photos", type=Path, nargs="+", metavar="PHOTO", help="photos, and folders with some")
    mask.add_argument("--out", type=Path, required=True, help="the folder that masks go to")
    mask.add_argument("--cutout", action="store_true", help="also the object alone, all else transparent (png)")
    mask.add_argument("--overlay", action="store_true", help="also the photo with the mask's contours (jpg)")
    mask.add_argument(
        "--as-stored", action="store_true", help="do not turn photos as their orientation tag says (training does not)"
    )
    mask.add_argument("--overwrite", action="store_true", help="replace files that another model made")
    info = _add(commands, "info", show_info, "say what a model is: classes, members, threshold, score, origin")
    info.add_argument("--json", action="store_true", help="the whole card as JSON")
    export = _add(commands, "export", export_files, "write a model as one file, and for other programs")
    export.add_argument("--out", type=Path, required=True, help="the folder that files go to")
    export.add_argument(
        "--formats",
        default="model",
        help=f"with commas, of {', '.join(FORMATS)} (default: model, the one file that `unets mask` takes)",
    )
    return parser


def mask_photos(args: argparse.Namespace) -> None:
    """Makes the masks that are missing."""
    from unets.export.masking import make_masks, plan_masks
    from unets.export.photos import plan_tasks

    source = open_model(args.model)
    tasks = plan_tasks(args.photos, args.out, cutout=args.cutout, overlay=args.overlay)
    plan = plan_masks(source, tasks, upright=not args.as_stored, overwrite=args.overwrite)
    if not plan.todo:
        print(f"{args.out}: all {len(tasks)} masks are there")
        return
    cli.load_backend()  # takes seconds: after all that may be mistyped
    from unets.export.trained import TrainedModel

    outcome = make_masks(plan, TrainedModel(source))
    for failure in outcome.failures:
        logger.error("no mask: %s", failure.reason)
    if outcome.num_stretched:
        height, width = source.card.photo_hw or (0, 0)
        logger.warning(
            "%d photos have other proportions than the %d x %d that the model was trained on; nets saw them stretched",
            outcome.num_stretched,
            height,
            width,
        )
    kept = f", {plan.num_kept} were there" if plan.num_kept else ""
    print(f"{args.out}: {outcome.num_made} masks made{kept}")
    if outcome.failures:
        raise InputError(
            f"`photos` must be whole and of a known format. Received: {len(outcome.failures)} of {len(tasks)} that are "
            f"not, see above"
        )


def show_info(args: argparse.Namespace) -> None:
    """Prints a model's card."""
    card = open_model(args.model).card
    print(card.to_json() if args.json else render_card(card))


def export_files(args: argparse.Namespace) -> None:
    """Writes the formats asked for."""
    from unets.export.formats import check_formats

    formats = check_formats(args.formats)
    source = open_model(args.model)
    cli.load_backend()
    from unets.export.exporting import export_models

    for path in export_models([source], args.out, formats):
        print(path)


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    work: Callable[[argparse.Namespace], None],
    summary: str,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
    parser.add_argument("model", type=Path, metavar="MODEL", help=_MODEL_HELP)
    parser.add_argument("--verbose", action="store_true", help="log more; show a traceback with every error")
    parser.set_defaults(work=work)
    return parser
