"""The net of unet_compact at 640 x 959, trained on: half the image's size, which the JPEG codec gives for free.

3,800 images more, for 40 minutes of one CPU core. On a GPU take more: `training.steps_per_epoch` and `data.batch_size`.

Run:      make train predict EXP=unet_640x959 FOLD=0
Results:  docs/results/carvana/unet_640x959.json
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(640, 959), batch_size=2, cache="none"),
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
        steps_per_epoch=1900,
        learning_rate=2e-3,
        encoder_rate=0.1,
        warmup=0.05,
        clip_norm=1.0,
        ema=0.99,
        keep="last",
        validation_images=64,
        start_from="unet_compact",
    ),
    prediction=PredictionConfig(batch_size=4),
)
