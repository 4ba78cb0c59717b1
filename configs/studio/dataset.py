"""Studio: the demo competition, rendered by `make render` in exactly Carvana's layout."""

from unets.config import DatasetConfig, MasksSource, SubmissionConfig

DATASET = DatasetConfig(
    source=MasksSource(
        masks=("train_masks*",),
        values=(1,),
        group=r"(?P<group>[0-9a-f]{12})_(?P<view>\d\d)",
    ),
    size_hw=(1280, 1918),
    classes=("car",),
    submission=SubmissionConfig(image_column="img", rle_column="rle_mask", cell="{id}.jpg", order="row"),
    metric="dice",
    num_folds=2,
)
