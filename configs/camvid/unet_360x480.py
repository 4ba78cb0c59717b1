"""U-Net at 360 x 480 pixels, as the images are.

Written by `unets new --minutes 15`. Meant for a CPU, one fold.

Run:      make pipeline score COMPETITION=camvid EXP=unet_360x480 FOLD=0
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    # Batch: 4, so that there are 420 updates in the time.
    # Flips: left and right. For images without an upper side (of a microscope, from above) add vflip=0.5 and, if
    # they are square, quarter_turns=True.
    data=DataConfig(size_hw=(360, 480), batch_size=4),
    # Encoder: efficientnet_lite0 with ImageNet's weights.
    model=ModelConfig(
        encoder="efficientnet_lite0", weights="imagenet", stride=2, depth=4, base_filters=16, max_filters=128
    ),
    # Steps: 420 of 4 images, 0.423 s an image on this machine, so training sees each image 5 times; 5 epochs, that
    # is validations of 156 images.
    training=TrainingConfig(
        epochs=5, steps_per_epoch=84, learning_rate=0.004, encoder_rate=0.1, clip_norm=1.0, ema=0.929
    ),
    prediction=PredictionConfig(batch_size=4),
    # One fold is enough to see what works; all of them make a better submission.
    folds=(0,),
)
