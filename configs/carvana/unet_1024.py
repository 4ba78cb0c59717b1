"""U-Net at 1024 x 1024: the image is squeezed to a square, with nearly all of its height kept.

Run:      make train predict EXP=unet_1024 FOLD=0
Results:  none yet: it was never run in full
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(1024, 1024), batch_size=8),
    model=ModelConfig(depth=6, base_filters=32),
    training=TrainingConfig(epochs=50),
    prediction=PredictionConfig(batch_size=8),
)
