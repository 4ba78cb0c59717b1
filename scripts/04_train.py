"""Trains every fold of every experiment: `unets train`."""

import sys

from unets.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
