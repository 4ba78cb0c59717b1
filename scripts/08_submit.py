"""Sends the submission to Kaggle and waits for its score: `unets submit`."""

import sys

from unets.cli import main

if __name__ == "__main__":
    main(["submit", *sys.argv[1:]])
