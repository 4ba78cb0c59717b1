"""U-Net at 384 x 384 pixels, images of 512 x 512 fitted to it.

Written by `unets new --minutes 15`. Meant for a CPU, one fold: 0.25 hours, Dice 0.82333 out-of-fold.

Run:      make pipeline score COMPETITION=membranes EXP=unet_384x384 FOLD=0
"""

from unets.config import AugmentConfig, DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    # Batch: 2, so that there are 573 updates in the time.
    # Flips: left and right. For images without an upper side (of a microscope, from above) add vflip=0.5 and, if
    # they are square, quarter_turns=True.
    data=DataConfig(size_hw=(384, 384), batch_size=2, augment=AugmentConfig(hue_deg=0.0, saturation=0.0, grey=0.0)),
    # Encoder: efficientnet_lite0 with ImageNet's weights.
    model=ModelConfig(
        encoder="efficientnet_lite0", weights="imagenet", stride=2, depth=4, base_filters=16, max_filters=128
    ),
    # Steps: 573 of 2 images, 0.675 s an image on this machine, so training sees each image 57 times; 3 epochs, that
    # is validations of 10 images.
    training=TrainingConfig(
        epochs=3, steps_per_epoch=191, learning_rate=0.004, encoder_rate=0.1, clip_norm=1.0, ema=0.948
    ),
    prediction=PredictionConfig(batch_size=4),
    # One fold is enough to see what works; all of them make a better submission.
    folds=(0,),
)
