"""The first half of unet_compact: the same net at 320 x 480, where a photo costs two fifths.

Run:      make train EXP=unet_compact_320x480 INPUT=<photos of some 50 cars>
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(320, 480), batch_size=4),
    model=ModelConfig(
        encoder="efficientnet_lite0", weights="imagenet", stride=2, depth=4, base_filters=16, max_filters=128
    ),
    training=TrainingConfig(
        epochs=5,
        learning_rate=3e-3,
        warmup_epochs=0.25,
        clip_norm=1.0,
        ema=0.99,
        # The gradients of depthwise convolutions take twice the time in bfloat16 on CPUs (LOG.md).
        precision="float32",
    ),
    prediction=PredictionConfig(batch_size=4),
    folds=(0,),
)
