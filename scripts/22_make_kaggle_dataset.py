"""Builds a Kaggle dataset of all that offline inference needs, and the folder of a kernel for it; may upload the first.

The kernel is pushed by `kaggle kernels push -p models/<competition>/kaggle/kernel`, once Kaggle has the dataset ready.
"""

from unets import cli
from unets.config import load_experiment
from unets.ensemble.ensemble import check_ensemble, read_ensemble
from unets.store.provenance import describe_commit
from unets.submission.kaggle.client import sign_in
from unets.submission.kaggle.dataset import (
    NOTEBOOK,
    build_dataset,
    build_kernel,
    check_owner,
    name_slug,
    upload_dataset,
)


def main(stage: cli.Stage) -> None:
    """Without --owner, the client is asked who is signed in."""
    project, dataset, args = stage.project, stage.dataset, stage.args
    ensemble = read_ensemble(project, stage.ensemble_name)
    check_ensemble(ensemble, stage.dataset, stage.ensemble, stage.common_folds())
    session = None if args.owner and not args.upload else sign_in(dataset.kaggle or project.competition)
    owner = check_owner(args.owner or session.user)  # type: ignore[union-attr]
    slug = args.slug or name_slug(ensemble)
    experiments = {m.experiment: load_experiment(project.configs_dir, m.experiment) for m in ensemble.used_members}
    cli.load_backend()  # takes seconds: after all that may be mistyped
    with stage.hold_models():
        folder = build_dataset(project, dataset, ensemble, experiments, owner, slug)
        kernel = build_kernel(project, dataset, ensemble, owner, slug, args.root / "docs" / "notebooks" / NOTEBOOK)
        print(f"{folder}\n{kernel}")
        if args.upload and session is not None:
            print(upload_dataset(session, folder, f"{owner}/{slug}", f"commit {describe_commit(project.configs_dir)}"))


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--owner", help="the account at Kaggle (default: the one that is signed in)")
    parser.add_argument("--slug", help="the dataset's name there (default: unets-<competition>)")
    parser.add_argument("--upload", action="store_true", help="upload it: a new dataset, or its next version")
    cli.run(main, parser)
