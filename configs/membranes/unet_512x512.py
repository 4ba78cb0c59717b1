"""U-Net at 512 x 512 pixels, as the images are.

Written by `unets new --minutes 15`, but for the weights that are kept. Meant for a CPU, one fold.
Run:      make pipeline score COMPETITION=membranes EXP=unet_512x512 FOLD=0
"""

from unets.config import AugmentConfig, DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    # Objects: small ones are 228 x 228 pixels here, 228 x 228 pixels in the images.
    # Batch: 4, so that there are 603 updates in the time.
    # Flips: left and right. For images without an upper side (of a microscope, from above) add vflip=0.5 and, if
    # they are square, quarter_turns=True.
    data=DataConfig(size_hw=(512, 512), batch_size=4, augment=AugmentConfig(hue_deg=0.0, saturation=0.0, grey=0.0)),
    # Encoder: efficientnet_lite0 with ImageNet's weights.
    model=ModelConfig(
        encoder="efficientnet_lite0", weights="imagenet", stride=2, depth=4, base_filters=16, max_filters=128
    ),
    # Steps: 603 of 4 images, 0.320 s an image on this machine, so training sees each image 121 times; 3 epochs,
    # that is validations of 10 images.
    training=TrainingConfig(
        epochs=3, steps_per_epoch=201, learning_rate=0.004, encoder_rate=0.1, clip_norm=1.0, ema=0.95
    ),
    prediction=PredictionConfig(batch_size=4),
    # One fold is enough to see what works; all of them make a better submission.
    folds=(0,),
)
