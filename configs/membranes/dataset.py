"""ISBI 2012, membranes of neurons: 30 training and 30 test photos, 512 x 512 pixels, 3 groups.

Written by `make new COMPETITION=membranes INPUT=data/membrane` from the folder of that name in zhixuhao/unet on GitHub.
It had three doubts, which are settled below by hand.
"""

from unets.config import DatasetConfig

DATASET = DatasetConfig(
    photos="train/image/{id}.png",
    masks="train/label/{id}.png",
    test_photos="test/{id}.png",
    # Their names fit the patterns above, too
    leave_out=("test/{id}_predict.png",),
    # None is here: a row a photo and class
    sample_submission=None,
    # Settled: these are 30 slices of one volume, 50 nm apart. Blocks of ten neighbours: all but the last digit
    id_pattern=r"(?P<group>.*?)\d",
    channels="grey",
    size_hw=(512, 512),
    # Settled: 255 covers 78% of all pixels. It is the cells; what was asked for is what lies between them
    classes=("membrane",),
    mask_values=(0,),
    background_values=(255,),
    csv_image_column="image",
    csv_image="{id}",
    metric="dice",
    # Settled: three blocks are what there is
    num_folds=3,
)
