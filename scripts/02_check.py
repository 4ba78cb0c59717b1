"""Checks that every image and mask is there, whole, and as dataset.py declares it: `unets check`."""

import sys

from unets.cli import main

if __name__ == "__main__":
    main(["check", *sys.argv[1:]])
