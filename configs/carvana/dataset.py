"""Carvana Image Masking Challenge: cut the car out of a studio image.

318 training and 6,254 test cars, each photographed from 16 sides on a turntable, 1918 x 1280 pixels. Views of one car
look alike, so a car never stands on two sides of a fold.
"""

from unets.config import DatasetConfig, MasksSource, SubmissionConfig

DATASET = DatasetConfig(
    source=MasksSource(
        masks=("train_masks*",),
        values=(1,),
        leave_out=("*_hq*",),
        group=r"(?P<group>[0-9a-f]{12})_(?P<view>\d\d)",
    ),
    size_hw=(1280, 1918),
    num_train=5088,
    num_test=100064,
    classes=("car",),
    submission=SubmissionConfig(image_column="img", rle_column="rle_mask", cell="{id}.jpg", order="row"),
    metric="dice",
    num_folds=5,
    kaggle="carvana-image-masking-challenge",
    # Not train_hq.zip and test_hq.zip: the same images, compressed less, in more bytes.
    kaggle_files=(
        "metadata.csv.zip",
        "sample_submission.csv.zip",
        "train_masks.csv.zip",
        "train_masks.zip",
        "train.zip",
        "test.zip",
    ),
)
