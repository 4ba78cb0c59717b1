"""A U-Net that two cores train within the hour: EfficientNet-Lite0 with ImageNet weights, for images of 640 x 959.

The encoder sees half of that, 320 x 480, and costs a quarter; finer levels see the image, and soft targets are
predicted at its size. It starts from unet_compact_320x480, whose net is the same. docs/results/ablation.md says what
some choices are worth.

Run:      make train EXP=unet_compact_320x480,unet_compact INPUT=<images of some 50 cars>
          make pipeline EXP=unet_compact INPUT=...
Results:  docs/results/carvana/unet_compact.json
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(640, 959), batch_size=2),
    model=ModelConfig(
        encoder="efficientnet_lite0",
        weights="imagenet",
        encoder_shrink=2,
        stride=2,
        depth=5,
        base_filters=16,
        max_filters=128,
    ),
    training=TrainingConfig(
        epochs=8,
        learning_rate=4e-3,
        encoder_rate=0.1,
        warmup=0.0125,
        clip_norm=1.0,
        ema=0.99,
        start_from="unet_compact_320x480",
    ),
    prediction=PredictionConfig(batch_size=4),
    folds=(0,),
)
