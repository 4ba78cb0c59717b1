"""A table of samples by hand: the way for every layout that no importer knows.

samples.csv    id,split,image,mask,group
               a,train,photos/a.jpg,drawn/a.png,patient1
"""

from pathlib import Path

from unets.config import DatasetConfig, TableSource
from unets.data.files import find_file, read_stamp
from unets.dataset.importers.base import Import, ImportedSample
from unets.dataset.importers.patterns import make_draw
from unets.dataset.rle_csv import read_frame
from unets.errors import InputError

_REQUIRED = ("id", "split", "image", "mask")
_MAX_FAULTS_SHOWN = 20


def read_table(input_dir: Path, dataset: DatasetConfig, config_dir: Path) -> Import:
    """Reads the table of `dataset.source`, a `TableSource`; image and mask are paths below INPUT.

    Several masks, joined by `|`, are one a class where there are several classes, else united.

    Raises:
        InputError: there is no such table, a column is missing, or a row is at fault: another split than `train` and
            `test`, a training image without a mask, a file that does not exist, an id twice.
    """
    source = dataset.source
    if not isinstance(source, TableSource):
        raise InputError(f"`source` must be a TableSource. Received: {source.format}")
    path = config_dir / source.path if (config_dir / source.path).is_file() else find_file(input_dir, source.path)
    frame = read_frame(path)
    missing = [column for column in _REQUIRED if column not in frame.columns]
    if missing:
        raise InputError(
            f"{path} must have the columns id,split,image,mask and, if any, group,view. Received: {list(frame.columns)}"
        )
    samples, faults = [], []
    for number, cells in enumerate(frame.itertuples(index=False), start=2):
        row = dict(zip(frame.columns, map(str, cells), strict=True))
        masks = tuple(row["mask"].split("|")) if row["mask"] else ()
        try:
            if row["split"] not in ("train", "test"):
                raise InputError(f"`split` must be train or test. Received: {row['split']!r}")
            if row["split"] == "train" and not masks:
                raise InputError("`mask` must be given for a training image. Received: none")
            for name in (row["image"], *masks):
                read_stamp(input_dir / name)  # it exists
        except InputError as error:
            faults.append(f"row {number}, {row['id']}: {error}")
            continue
        samples.append(_build(row, masks, source, dataset, input_dir))
    if faults:
        shown = "".join(f"\n  {fault}" for fault in faults[:_MAX_FAULTS_SHOWN])
        raise InputError(f"{path} must be a table of samples. Received: {len(faults)} faults:{shown}")
    return Import(samples=tuple(samples), classes=dataset.classes, overlapping=dataset.overlapping)


def _build(
    row: dict[str, str], masks: tuple[str, ...], source: TableSource, dataset: DatasetConfig, input_dir: Path
) -> ImportedSample:
    is_train = row["split"] == "train"
    a_class_each = len(dataset.classes) > 1 and (dataset.overlapping or len(masks) == len(dataset.classes) > 1)
    is_canonical = source.is_canonical and (len(masks) == 1 or dataset.overlapping)
    draw = None
    if is_train and not is_canonical:
        layers = tuple((mask,) for mask in masks) if a_class_each else (masks,)
        draw = make_draw(input_dir, layers, source, dataset)
    return ImportedSample(
        id=row["id"],
        split="train" if is_train else "test",
        image=row["image"],
        mask=masks if is_train and is_canonical else (),
        draw=draw,
        group=row.get("group", ""),
        view=row.get("view", ""),
    )
