"""Studio in parts: the demo's photos, where body, glass and wheels are classes of their own.

Rendered by `make render COMPETITION=studio_parts`; what several classes need of a pipeline is tried here.
"""

from unets.config import DatasetConfig

DATASET = DatasetConfig(
    photos="train/{id}.jpg",
    masks="train_masks/{id}_mask.png",
    test_photos="test/{id}.jpg",
    masks_csv="train_masks.csv",
    read_masks_from="csv",
    id_pattern=r"(?P<group>[0-9a-f]{12})_(?P<view>\d\d)",
    size_hw=(1280, 1918),
    classes=("body", "glass", "wheel"),
    mask_values=(1, 2, 3),
    rle_order="row",
    csv_image="{id}.jpg",
    csv_class_column="class",
    metric="iou",
    num_folds=2,
)
