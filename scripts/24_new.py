"""Looks at a folder of photos and masks and writes configs/<competition>/ for it; says what it guessed and doubts."""

from pathlib import Path

from unets import cli
from unets.dataset.layout.newcomer import welcome
from unets.dataset.layout.text import render_guess


def main(stage: cli.Stage) -> None:
    """Writes dataset.py, one or two experiments and ensemble.py."""
    project, args = stage.project, stage.args
    guess = welcome(project, names_path=args.classes, anew=args.anew)
    words = cli.complete_commands("`make x`", args).strip("`").removeprefix("make x").strip()
    print(render_guess(guess, project.competition, words))


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--classes", type=Path, help="csv, txt or json that names the classes' values or colours")
    parser.add_argument("--anew", action="store_true", help="write over the config files that are there")
    cli.run(main, parser)
