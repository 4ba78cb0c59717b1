"""A U-Net that two cores train in half an hour: EfficientNet-Lite0 with ImageNet weights, at 512 x 768.

It starts from unet_compact_320x480, whose net is the same: most of what a net has to learn of cars is cheaper to learn
from small photos. LOG.md has the table of what else was tried.

Run:      make train EXP=unet_compact_320x480,unet_compact INPUT=<photos of some 50 cars>
          make pipeline EXP=unet_compact INPUT=...
Results:  results/carvana/unet_compact.json
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(512, 768), batch_size=4),
    model=ModelConfig(
        encoder="efficientnet_lite0", weights="imagenet", stride=2, depth=4, base_filters=16, max_filters=128
    ),
    training=TrainingConfig(
        epochs=6,
        learning_rate=1.5e-3,
        warmup_epochs=0.25,
        clip_norm=1.0,
        ema=0.99,
        start_from="unet_compact_320x480",
        precision="float32",
    ),
    prediction=PredictionConfig(batch_size=4),
    folds=(0,),
)
