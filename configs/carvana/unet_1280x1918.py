"""U-Net at 1280 x 1918, the image as it is: no pixel of the contour is lost, each costs four times as much.

Run:      make train predict EXP=unet_1280x1918 FOLD=0
Results:  none yet: it was never run in full
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(1280, 1918), batch_size=4),
    model=ModelConfig(depth=6, base_filters=24),
    training=TrainingConfig(epochs=40),
    prediction=PredictionConfig(batch_size=4),
)
