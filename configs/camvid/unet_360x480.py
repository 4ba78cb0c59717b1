"""U-Net at 360 x 480 pixels, as the images are.

Written by `unets new --minutes 12`, but for the fold. Meant for a CPU, one fold; it was not run
yet: the record of that name is of a config before.

Run:      make pipeline score COMPETITION=camvid EXP=unet_360x480 FOLD=1
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    # Batch: 2, so that there are 568 updates in the time.
    # Flips: left and right. For images without an upper side (of a microscope, from above) add vflip=0.5 and, if
    # they are square, quarter_turns=True.
    data=DataConfig(size_hw=(360, 480), batch_size=2),
    # Encoder: efficientnet_lite0 with ImageNet's weights.
    model=ModelConfig(
        encoder="efficientnet_lite0", weights="imagenet", stride=2, depth=4, base_filters=16, max_filters=128
    ),
    # Steps: 568 of 2 images, 0.493 s an image on this machine, so training sees each image 4 times; 4 epochs, that
    # is validations of 156 images.
    training=TrainingConfig(
        epochs=4, steps_per_epoch=142, learning_rate=0.004, encoder_rate=0.1, clip_norm=1.0, ema=0.947
    ),
    prediction=PredictionConfig(batch_size=4),
    # It holds out the 101 images of one video; fold 0 holds out 305 of 468.
    folds=(1,),
)
