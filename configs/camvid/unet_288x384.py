"""U-Net at 288 x 384 pixels, images of 360 x 480 fitted to it.

Written by `unets new --minutes 6`, but for the fold. Meant for a CPU, one fold:
0.14 hours, IoU 0.45792 on the test images.

Run:      make pipeline score COMPETITION=camvid EXP=unet_288x384 FOLD=1
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    # Batch: 2, so that there are 150 updates in the time.
    # Flips: left and right. For images without an upper side (of a microscope, from above) add vflip=0.5 and, if
    # they are square, quarter_turns=True.
    data=DataConfig(size_hw=(288, 384), batch_size=2),
    # Encoder: efficientnet_lite0 with ImageNet's weights.
    model=ModelConfig(
        encoder="efficientnet_lite0", weights="imagenet", stride=2, depth=4, base_filters=16, max_filters=128
    ),
    # Steps: 150 of 2 images, 0.864 s an image on this machine, so training sees 96 % of the images; 3 epochs, that
    # is validations of 58 images.
    training=TrainingConfig(
        epochs=3,
        steps_per_epoch=50,
        learning_rate=0.004,
        encoder_rate=0.1,
        clip_norm=1.0,
        ema=0.9,
        validation_images=58,
    ),
    prediction=PredictionConfig(batch_size=4),
    # It holds out the 101 images of one video; fold 0 holds out 305 of 468.
    folds=(1,),
)
