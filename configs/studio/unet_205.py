"""U-Net at 205 x 205, a fifth of 1024 x 1024, for the demo.

Run:      make train predict COMPETITION=studio EXP=unet_205 FOLD=0
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(205, 205), batch_size=8),
    model=ModelConfig(depth=4, base_filters=16, stride=2),
    training=TrainingConfig(epochs=8, learning_rate=3e-3),
)
