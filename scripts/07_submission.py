"""Writes the submission and checks it: `unets submission`."""

import sys

from unets.cli import main

if __name__ == "__main__":
    main(["submission", *sys.argv[1:]])
