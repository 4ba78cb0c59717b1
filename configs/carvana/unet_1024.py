"""The same net at 1024 x 1024: the image is squeezed to a square, with nearly all of its height kept.

It starts from unet_640x959: 40 minutes more of one CPU core.

Run:      make train predict EXP=unet_1024 FOLD=0
Results:  docs/results/carvana/unet_1024.json
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(1024, 1024), batch_size=2, cache="none"),
    model=ModelConfig(
        encoder="efficientnet_lite0",
        weights="imagenet",
        stride=2,
        depth=4,
        base_filters=32,
        max_filters=128,
    ),
    training=TrainingConfig(
        epochs=1,
        steps_per_epoch=1200,
        learning_rate=2e-3,
        encoder_rate=0.1,
        warmup=0.05,
        clip_norm=1.0,
        ema=0.99,
        keep="last",
        validation_images=64,
        start_from="unet_640x959",
    ),
    prediction=PredictionConfig(batch_size=2),
)
