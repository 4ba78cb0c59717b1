"""Looks at every test photo as the ensemble sees it, without truth; the oddest come first, with pictures, in a page."""

from unets import cli
from unets.ensemble.ensemble import check_ensemble, read_ensemble
from unets.pages.screen.screening import screen_test


def main(stage: cli.Stage) -> None:
    """Writes models/<competition>/screen/index.html and photos.csv."""
    check_ensemble(
        read_ensemble(stage.project, stage.ensemble_name), stage.dataset, stage.ensemble, stage.common_folds()
    )
    with stage.hold_models():
        screening = screen_test(
            stage.project, stage.dataset, ensemble_name=stage.ensemble_name, top=stage.args.top, jobs=stage.args.jobs
        )
    for index in screening.odd.order[:10].tolist():
        reasons = ", ".join(screening.odd.list_reasons(index))
        print(f"{screening.odd.oddness[index]:6.1f}  {screening.samples[index].id}  {reasons}")
    print(f"{screening.page_path}: open it in a browser; {screening.csv_path.name} beside it has all photos")


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--top", type=int, default=60, help="photos in the page (default: 60)")
    cli.run(main, parser)
