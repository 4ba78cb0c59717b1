"""The first part of unet_compact: the same net at 320 x 480, where an image costs a quarter.

Run:      make train EXP=unet_compact_320x480 INPUT=<images of some 200 cars>
Results:  docs/results/carvana/unet_compact_320x480.json
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(320, 480), batch_size=2),
    model=ModelConfig(
        encoder="efficientnet_lite0",
        weights="imagenet",
        stride=2,
        depth=4,
        base_filters=32,
        max_filters=128,
    ),
    training=TrainingConfig(
        epochs=2,
        learning_rate=5e-3,
        encoder_rate=0.1,
        warmup=0.05,
        clip_norm=1.0,
        ema=0.99,
        keep="last",
        validation_images=64,
    ),
    prediction=PredictionConfig(batch_size=4),
    folds=(0,),
)
