"""Studio: the demo competition, rendered by `make render` in exactly Carvana's layout."""

from unets.config import DatasetConfig

DATASET = DatasetConfig(
    photos="train/{id}.jpg",
    masks="train_masks/{id}_mask.gif",
    test_photos="test/{id}.jpg",
    masks_csv="train_masks.csv",
    read_masks_from="csv",
    id_pattern=r"(?P<group>[0-9a-f]{12})_(?P<view>\d\d)",
    size_hw=(1280, 1918),
    classes=("car",),
    mask_values=(1,),
    rle_order="row",
    csv_image="{id}.jpg",
    metric="dice",
    num_folds=2,
)
