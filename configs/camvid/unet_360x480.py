"""U-Net at 360 x 480 pixels, as the images are.

Written by `unets new --minutes 15`. Meant for a CPU, one fold.
Run:      make pipeline score COMPETITION=camvid EXP=unet_360x480 FOLD=0
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    # Objects: small ones are 11 x 11 pixels here, 11 x 11 pixels in the images.
    # Batch: 4, so that there are 516 updates in the time.
    # Flips: left and right. For images without an upper side (of a microscope, from above) add vflip=0.5 and, if
    # they are square, quarter_turns=True.
    data=DataConfig(size_hw=(360, 480), batch_size=4),
    # Encoder: efficientnet_lite0 with ImageNet's weights.
    model=ModelConfig(
        encoder="efficientnet_lite0", weights="imagenet", stride=2, depth=4, base_filters=16, max_filters=128
    ),
    # Steps: 516 of 4 images, 0.344 s an image on this machine, so training sees each image 7 times; 6 epochs, that
    # is validations of 156 images.
    training=TrainingConfig(
        epochs=6, steps_per_epoch=86, learning_rate=0.004, encoder_rate=0.1, clip_norm=1.0, ema=0.942, keep="last"
    ),
    prediction=PredictionConfig(batch_size=4),
    # It holds out the 101 images of one video.
    folds=(0,),
)
