"""What a map takes on disk, by the size of the net's photos: a table that is written into README.md, between two marks.

Maps look like those of a trained net: coverage of true masks, their contours blurred, with noise on the logits.

Run:  python benchmarks/map_sizes.py [--input <a folder in Carvana's layout>] [--dry-run]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from crowd import soften
from measure import pick_evenly
from nets import replace_table

from unets.config import load_dataset
from unets.data.geometry import SizeHW
from unets.data.samples import read_mask
from unets.dataset.catalog import load_catalog
from unets.prediction.maps import encode_map, open_maps, write_shard

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- maps: written by benchmarks/map_sizes.py -->", "<!-- end of maps -->"
SIZES: tuple[SizeHW, ...] = ((320, 480), (640, 959), (1024, 1024), (1280, 1918))
_STANDARD = SIZES[1:]  # those of configs/carvana/ensemble.py
_NUM_MASKS = 64
CARVANA = 100_064

MapU8 = npt.NDArray[np.uint8]


def main() -> None:
    """Measures, prints, and writes the table into the README."""
    args = _parse()
    dataset = load_dataset(ROOT / "configs" / "carvana")
    samples = pick_evenly(load_catalog(dataset, args.input, with_test=False).train, _NUM_MASKS)
    masks = [read_mask(sample, dataset) for sample in samples]
    lines, total = list[str](), 0.0
    for size_hw in SIZES:
        kb, write_ms, read_ms = _measure([soften(mask_hw, size_hw, [i]) for i, mask_hw in enumerate(masks)])
        gb = kb * CARVANA / 1e6
        total += gb if size_hw in _STANDARD else 0
        lines.append(f"| {size_hw[0]} x {size_hw[1]} | {kb:.1f} | {gb:.2f} | {write_ms:.1f} | {read_ms:.1f} |")
    text = "\n".join(
        [
            f"Made of {len(masks)} true masks; milliseconds of one thread. The three standard experiments take",
            f"{total:.1f} GB together for Carvana's test set.",
            "",
            f"| map | KB | GB for {CARVANA:,} photos | ms to write | ms to read |",
            "|---|---|---|---|---|",
            *lines,
        ]
    )
    print(text)
    if not args.dry_run:
        path = ROOT / "README.md"
        readme = replace_table(path.read_text(encoding="utf-8"), text, begin=BEGIN, end=END)
        path.write_text(readme, encoding="utf-8")


def _measure(maps: list[MapU8]) -> tuple[float, float, float]:
    """Returns (KB of a shard, ms to compress, ms to read and decompress), a map, in one thread."""
    began = time.thread_time()
    encoded = [encode_map(layers) for layers in maps]
    written = time.thread_time()
    with tempfile.TemporaryDirectory() as folder:
        named = [(f"{index:012x}_01", one) for index, one in enumerate(encoded)]
        path = write_shard(Path(folder), 0, nets={"0": "0" * 16}, classes=("car",), maps=named)
        num_bytes, reader = path.stat().st_size, open_maps(Path(folder))
        reading = time.thread_time()
        for id_ in reader.ids:
            reader.read_map(id_)
        read = time.thread_time()
        reader.close()
    scale = 1000 / len(maps)
    return num_bytes / 1000 / len(maps), scale * (written - began), scale * (read - reading)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=ROOT / "input/studio", help="default: what `make render` makes")
    parser.add_argument("--dry-run", action="store_true", help="print, and leave README.md as it is")
    return parser.parse_args()


if __name__ == "__main__":
    main()
