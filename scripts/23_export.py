"""Writes the ensemble as one file, which `unets mask` takes anywhere; with --formats its nets for other programs, too.

Of --exp one file an experiment, the mean of its folds. Files for other programs hold one net, of the first of the folds
asked for; they are tried on photos that it did not see, and export.md says what each costs and reaches.
"""

from dataclasses import replace
from functools import partial

from unets import cli
from unets.ensemble.ensemble import check_ensemble, read_ensemble
from unets.export.formats import FORMATS, check_formats
from unets.export.sources import ModelSource, open_ensemble, open_runs


def main(stage: cli.Stage) -> None:
    """Writes models/<competition>/export/."""
    formats = check_formats(stage.args.formats)
    sources = find_sources(stage)
    cli.load_backend()  # takes seconds: after all that may be mistyped
    from unets.export.exporting import export_models
    from unets.export.trials import find_oof_photos

    find_photos = partial(find_oof_photos, stage.project, stage.dataset, stage.args.photos)
    for path in export_models(sources, stage.project.export_dir, formats, find_photos):
        print(path)


def find_sources(stage: cli.Stage) -> list[ModelSource]:
    """Opens the ensemble, or each of the experiments of --exp."""
    project, dataset = stage.project, stage.dataset
    if stage.args.exp == "all":
        ensemble = read_ensemble(project, stage.ensemble_name)
        check_ensemble(ensemble, stage.dataset, stage.ensemble, stage.common_folds())
        sources = [open_ensemble(project.ensemble_path(ensemble.name), ensemble, stage.experiments)]
    else:
        sources = [
            open_runs([project.run_dir(name, fold) for fold in stage.list_folds(experiment)])
            for name, experiment in stage.experiments.items()
        ]
    known = {
        "competition": project.competition,
        "channels": "grey" if dataset.channels == "grey" else "rgb",  # of any kind, photos are seen as they are
        "value_range": dataset.value_range,
        "photo_hw": dataset.size_hw,
    }
    return [replace(source, card=source.card.model_copy(update=known)) for source in sources]


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--formats", default="model", help=f"all, or with commas of {', '.join(FORMATS)}")
    parser.add_argument("--photos", type=int, default=128, help="out-of-fold photos to try each file on (default: 128)")
    cli.run(main, parser)
