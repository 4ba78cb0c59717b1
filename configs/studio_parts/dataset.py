"""Studio in parts: the demo's images, where body, glass and wheels are classes of their own.

Rendered by `make render COMPETITION=studio_parts`; what several classes need of a pipeline is tried here.
"""

from unets.config import DatasetConfig, MasksCsv, PatternSource, SubmissionConfig

DATASET = DatasetConfig(
    source=PatternSource(
        images="train/{id}.jpg",
        masks="train_masks/{id}_mask.png",
        mask_values=(1, 2, 3),
        test_images="test/{id}.jpg",
        masks_csv=MasksCsv(path="train_masks.csv", class_column="class"),
        id_pattern=r"(?P<group>[0-9a-f]{12})_(?P<view>\d\d)",
    ),
    size_hw=(1280, 1918),
    classes=("body", "glass", "wheel"),
    submission=SubmissionConfig(
        image_column="img", rle_column="rle_mask", class_column="class", cell="{id}.jpg", order="row", row="class"
    ),
    metric="iou",
    num_folds=2,
)
