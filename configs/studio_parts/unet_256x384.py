"""U-Net at 256 x 384 with a layer for each part: glass and wheels are a few pixels wide at less.

Run:      make train predict COMPETITION=studio_parts EXP=unet_256x384 FOLD=0
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(256, 384), batch_size=8),
    model=ModelConfig(depth=4, base_filters=16, stride=2),
    training=TrainingConfig(epochs=12, learning_rate=3e-3),
)
