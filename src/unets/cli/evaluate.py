"""Subcommands that evaluate: the ensemble, comparisons, tables, pages, notebooks."""

from functools import partial
from pathlib import Path

from unets.cli.app import complete_commands
from unets.cli.stage import Stage, command
from unets.config import check_name
from unets.log import format_count


@command("unets ensemble mine", "unets ensemble mine -e unet_512,unet_1024", runs=True, locks=True)
def ensemble(stage: Stage) -> None:
    """Evaluates the ensemble out-of-fold; keeps weights, threshold and post-processing that gain by cross-fitting."""
    from unets.ensemble.fit import fit_ensemble
    from unets.evaluation.contributions import render_contributions

    fitted = fit_ensemble(
        stage.project, stage.dataset, stage.ensemble, name=stage.ensemble_name, folds=stage.common_folds
    )
    print(render_contributions(stage.project, fitted))
    path = stage.project.ensemble_path(stage.ensemble_name)
    stage.finish(f"{path}: weights, threshold and post-processing", "submission")


@command("unets compare mine unet_512 unet_1024 --seeds 3", "unets compare mine ensemble unet_512", rule=False)
def compare(stage: Stage, a: str, b: str, seeds: int = 1, json: bool = False) -> None:
    """Compares two experiments or ensembles on the same out-of-fold images: difference with interval, and cost."""
    from unets.evaluation.compare import compare as compare_runs
    from unets.evaluation.compare import render_comparison

    comparison = compare_runs(stage.project, stage.dataset.metric, a, b, num_seeds=seeds)
    print(comparison.to_json() if json else render_comparison(comparison))


@command("unets summary mine", runs=True, rule=False)
def summary(stage: Stage) -> None:
    """Prints one table: the metric of experiments, ensemble and submission, and the seconds of each stage."""
    from unets.evaluation.results import summarize

    print(summarize(stage.project, stage.ensemble_name, stage.experiments))


@command("unets report mine", "unets report mine --top 48", runs=True, locks=True)
def report(stage: Stage, top: int = 24) -> None:
    """Makes a page of all that was trained and evaluated: scores, cost, ensemble, curves, the worst images."""
    from unets.pages.report import write_report

    written = write_report(
        stage.project,
        stage.dataset,
        stage.ensemble,
        chosen_folds=stage.chosen_folds,
        folds=None if stage.given["fold"] == "all" else stage.common_folds,
        with_others=stage.has_all,
        ensemble_name=stage.ensemble_name,
        top=top,
        complete=partial(complete_commands, given=stage.given),
    )
    for note in written.notes:
        print(f"missing: {note}")
    print(f"{format_count(written.num_images, 'image')}, {written.num_pictures:,} with pictures")
    stage.finish(f"open in a browser: {written.page_path.absolute().as_uri()}", "export")


@command("unets screen mine", runs=True, locks=True)
def screen(stage: Stage, top: int = 60) -> None:
    """Shows the test images that look odd to the ensemble, the oddest first, in a page; needs no ground truth."""
    from unets.pages.screen import screen_test

    stage.read_ensemble()  # it is the one that is asked for
    found = screen_test(stage.project, stage.dataset, ensemble_name=stage.ensemble_name, top=top)
    print(f"odd: {found.odd.num_odd:,} of {format_count(len(found.samples), 'test image')}")
    for note in found.notes:
        print(f"note: {note}")
    for index in found.odd.order[: min(found.odd.num_odd, 10)].tolist():
        reasons = ", ".join(found.odd.list_reasons(index))
        print(f"{found.odd.total[index]:6.1f}  {found.samples[index].id}  {reasons}")
    print(f"open in a browser: {found.page_path.absolute().as_uri()} ({found.csv_path.name} beside it has all images)")


@command("unets show mine", "unets show mine --count 24 --out sheet.jpg")
def show(stage: Stage, submission: str | None = None, count: int = 12, out: Path | None = None) -> None:
    """Draws a sheet of test images with the contours of a submission, to look at before it is sent."""
    from unets.data.io import check_picture_name
    from unets.pages.sheet import draw_submission, name_colors
    from unets.submission.submission import find_submission

    out = out or stage.project.models_dir / "sheet.jpg"
    check_picture_name(out)
    path = find_submission(stage.project, submission)
    number = draw_submission(out, path, stage.project, stage.dataset, count)
    print(
        f"{out}: {format_count(number, 'image')} with the contours of {path.name}{name_colors(stage.dataset.classes)}"
    )


@command("unets record mine", runs=True, rule=False)
def record(stage: Stage, name: str | None = None) -> None:
    """Keeps what experiments and ensemble reached, with their cost, in docs/results/, and renders the page there."""
    from unets.ensemble.ensemble import read_ensemble
    from unets.evaluation.results import record_ensemble, record_experiment, write_results_page
    from unets.store.provenance import describe_origin
    from unets.submission.submission import name_submission

    project, origin = stage.project, describe_origin()
    submission_name = name and check_name(name, "`--name`")
    for experiment, config in stage.experiments.items():
        print(record_experiment(project, stage.dataset, experiment, config, origin))
    submission_name = submission_name or name_submission(read_ensemble(project, stage.ensemble_name))
    print(record_ensemble(project, stage.ensemble_name, submission_name, origin))
    print(write_results_page(stage.root))


@command("unets notebooks", "unets notebooks mine --only 01,04", runs=True, rule=False)
def notebooks(stage: Stage, only: str = "", out: Path | None = None) -> None:
    """Executes the notebooks: those of the demo in place, of another competition as copies in its models folder."""
    from unets.pages.notebooks import execute_notebooks

    _ = stage.dataset  # tells a mistyped competition
    wanted, experiments = list(filter(None, only.split(","))), "" if stage.has_all else stage.given["exp"]
    for path, seconds in execute_notebooks(stage.project, stage.root, wanted, out, experiments):
        print(f"{path}: {seconds:.0f} s, {path.stat().st_size / 1000:.0f} KB")
