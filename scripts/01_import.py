"""Reads the data into the table that every stage reads, samples.csv: `unets import`."""

import sys

from unets.cli import main

if __name__ == "__main__":
    main(["import", *sys.argv[1:]])
