"""Renders the demo's images and masks into input/studio: `unets render`."""

import sys

from unets.cli import main

if __name__ == "__main__":
    main(["render", *sys.argv[1:]])
