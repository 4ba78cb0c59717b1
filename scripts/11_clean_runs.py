"""Deletes runs and maps of the experiments named by --exp, or of some of their folds; folds and cache stay."""

import shutil

from unets import cli
from unets.store.runs import lock


def main(stage: cli.Stage) -> None:
    """Maps are made of all folds together, so they go with any of them."""
    for name, experiment in stage.experiments.items():
        maps_dir = stage.project.maps_dir(name, "test").parent
        for folder in (*(stage.project.run_dir(name, fold) for fold in stage.list_folds(experiment)), maps_dir):
            if folder.is_dir():
                with lock(folder):  # nobody is at work in it
                    pass
                shutil.rmtree(folder)
                print(f"deleted {folder}")


if __name__ == "__main__":
    cli.run(main, cli.build_parser(__doc__))
