"""U-Net at 256 x 384, a fifth of 1280 x 1918, for the demo.

Run:      make train predict COMPETITION=studio EXP=unet_256x384 FOLD=0
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(256, 384), batch_size=8),
    model=ModelConfig(depth=4, base_filters=16, stride=4),
    training=TrainingConfig(epochs=12, learning_rate=3e-3),
)
