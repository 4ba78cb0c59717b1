"""U-Net at 256 x 384, a fifth of 1280 x 1918, with a pretrained encoder: three epochs are enough. For the demo.

Run:      make train predict COMPETITION=studio EXP=unet_256x384 FOLD=0
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(256, 384), batch_size=4),
    model=ModelConfig(
        encoder="efficientnet_lite0", weights="imagenet", stride=2, depth=4, base_filters=16, max_filters=128
    ),
    training=TrainingConfig(epochs=3, learning_rate=4e-3, encoder_rate=0.1, clip_norm=1.0, ema=0.9, keep="last"),
)
