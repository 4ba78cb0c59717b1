"""Lists all runs of a competition: how far each is, what it reached at full size, what it cost."""

from unets import cli
from unets.inventory import list_judgements, list_runs, render_inventory


def main(stage: cli.Stage) -> None:
    """Reads the run folders, those that are being written too."""
    project, dataset = stage.project, stage.dataset
    print(render_inventory(project.competition, list_runs(project, dataset), list_judgements(project, dataset)))


if __name__ == "__main__":
    cli.run(main, cli.build_parser(__doc__))
