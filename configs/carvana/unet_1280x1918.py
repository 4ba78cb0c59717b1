"""The same net at 1280 x 1918, the image as it is, trained on crops of a quarter of it; it predicts whole images.

It starts from unet_640x959: 45 minutes more of one CPU core. Whole images one by one learn as fast (docs/log).

Run:      make train predict EXP=unet_1280x1918 FOLD=0
Results:  docs/results/carvana/unet_1280x1918.json
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(1280, 1918), crop_hw=(640, 960), batch_size=2, cache="none"),
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
        steps_per_epoch=2000,
        learning_rate=2e-3,
        encoder_rate=0.1,
        warmup=0.05,
        clip_norm=1.0,
        ema=0.99,
        keep="last",
        validation_images=64,
        start_from="unet_640x959",
    ),
    prediction=PredictionConfig(batch_size=1),
)
