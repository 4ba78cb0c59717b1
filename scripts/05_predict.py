"""Predicts probability maps of training images, out-of-fold, and of test images: `unets predict`."""

import sys

from unets.cli import main

if __name__ == "__main__":
    main(["predict", *sys.argv[1:]])
