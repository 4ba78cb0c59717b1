"""A U-Net that two cores train in an hour: EfficientNet-Lite0 with ImageNet weights, for images of 640 x 959.

It starts from unet_compact_320x480, the same net after all images twice at half the side: most of what an image
teaches is learned there for a quarter of the time, so 3,800 larger images will do. The last weights are kept: the
held-out images choose nothing.

Run:      make pipeline EXP=unet_compact INPUT=<images of some 200 cars>
Results:  docs/results/carvana/unet_compact.json
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(640, 959), batch_size=2, cache="none"),  # few images are seen twice
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
        learning_rate=3e-3,
        encoder_rate=0.1,
        warmup=0.05,
        clip_norm=1.0,
        ema=0.99,
        keep="last",
        validation_images=64,
        start_from="unet_compact_320x480",
    ),
    prediction=PredictionConfig(batch_size=4),
    folds=(0,),
)
