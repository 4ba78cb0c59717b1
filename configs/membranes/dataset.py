"""ISBI 2012, membranes of neurons: 30 training and 30 test images, 512 x 512 pixels, 3 groups.

Written by `unets new data/membrane --name membranes` from the folder of that name in zhixuhao/unet on GitHub.
It had three questions, which are answered below by hand.
"""

from unets.config import DatasetConfig, MasksSource, SubmissionConfig

DATASET = DatasetConfig(
    source=MasksSource(
        masks=("train/label/*",),
        # Answered: 255 covers 78% of all pixels. It is the cells; what was asked for is what lies between them
        values=(0,),
        background=(255,),
        leave_out=("test/*_predict.png",),
        # Answered: these are 30 slices of one volume, 50 nm apart. Blocks of ten neighbors: all but the last digit
        group=r"(?P<group>.*?)\d",
    ),
    channels="grey",
    size_hw=(512, 512),
    classes=("membrane",),
    # There is no sample: a row an image
    submission=SubmissionConfig(sample=None, image_column="image", cell="{id}"),
    metric="dice",
    # Answered: three blocks are what there is
    num_folds=3,
)
