"""Evaluates the ensemble out-of-fold and chooses weights, threshold, post-processing: `unets ensemble`."""

import sys

from unets.cli import main

if __name__ == "__main__":
    main(["ensemble", *sys.argv[1:]])
