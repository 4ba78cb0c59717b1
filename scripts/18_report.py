"""Makes a page of all that was trained and judged: scores, cost, ensemble, curves, the worst photos with pictures."""

from functools import partial

from unets import cli
from unets.pages.report.reporting import Wish, write_report


def main(stage: cli.Stage) -> None:
    """Writes models/<competition>/report/index.html, and pictures beside it."""
    args = stage.args
    folds_of = {name: stage.list_folds(config) for name, config in stage.experiments.items()}
    wish = Wish(
        ensemble_name=stage.ensemble_name,
        ensemble=stage.ensemble,
        folds_of=folds_of,
        with_others=args.exp == "all",
        folds=None if args.fold == "all" else stage.common_folds(),
    )
    with stage.hold_models():
        report = write_report(
            stage.project,
            stage.dataset,
            wish,
            top=args.top,
            jobs=args.jobs,
            complete=partial(cli.complete_commands, args=args),
        )
    for note in report.notes:
        print(f"missing: {note}")
    print(f"{report.num_photos} photos, {report.num_pictures} with pictures")
    print(f"open in a browser: {report.page_path.absolute().as_uri()}")


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--top", type=int, default=24, help="photos a gallery shows (default: 24)")
    cli.run(main, parser)
