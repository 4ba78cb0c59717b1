"""U-Net at 128 x 192, a fifth of 640 x 959, for the demo.

Run:      make train predict COMPETITION=studio EXP=unet_128x192 FOLD=0
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(128, 192), batch_size=8),
    model=ModelConfig(depth=4, base_filters=16, stride=2),
    training=TrainingConfig(epochs=9, learning_rate=3e-3),
)
