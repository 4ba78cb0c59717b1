"""A first look in two minutes of two cores: EfficientNet-Lite0 at 192 x 288, one pass over the images.

What docs/results/ablation.md calls `base`.

Run:      make train predict EXP=unet_compact_192x288 INPUT=<images of some 50 cars>
Results:  docs/results/carvana/unet_compact_192x288.json
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(192, 288), batch_size=2),
    model=ModelConfig(
        encoder="efficientnet_lite0",
        weights="imagenet",
        stride=2,
        depth=4,
        base_filters=16,
        max_filters=128,
    ),
    training=TrainingConfig(epochs=1, learning_rate=5e-3, encoder_rate=0.1, warmup=0.1, clip_norm=1.0, ema=0.99),
    prediction=PredictionConfig(batch_size=8),
    folds=(0,),
)
