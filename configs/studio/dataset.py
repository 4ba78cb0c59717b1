"""Studio: the demo competition, rendered by `make render` in exactly Carvana's layout."""

from unets.config import DatasetConfig, PatternSource, SubmissionConfig

DATASET = DatasetConfig(
    source=PatternSource(
        images="train/{id}.jpg",
        masks="train_masks/{id}_mask.gif",
        test_images="test/{id}.jpg",
        id_pattern=r"(?P<group>[0-9a-f]{12})_(?P<view>\d\d)",
    ),
    size_hw=(1280, 1918),
    classes=("car",),
    submission=SubmissionConfig(image_column="img", rle_column="rle_mask", cell="{id}.jpg", order="row"),
    metric="dice",
    num_folds=2,
)
