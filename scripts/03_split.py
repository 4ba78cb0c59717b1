"""Splits the groups (cars) into folds: `unets split`."""

import sys

from unets.cli import main

if __name__ == "__main__":
    main(["split", *sys.argv[1:]])
