"""The first part of unet_compact: the same net at 320 x 480, where a image costs a quarter.

Run:      make train EXP=unet_compact_320x480 INPUT=<images of some 50 cars>
Results:  docs/results/carvana/unet_compact_320x480.json
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(320, 480), batch_size=2),
    model=ModelConfig(
        encoder="efficientnet_lite0",
        weights="imagenet",
        encoder_shrink=2,
        stride=2,
        depth=5,
        base_filters=16,
        max_filters=128,
    ),
    training=TrainingConfig(epochs=4, learning_rate=5e-3, encoder_rate=0.1, warmup=0.025, clip_norm=1.0, ema=0.99),
    prediction=PredictionConfig(batch_size=4),
    folds=(0,),
)
