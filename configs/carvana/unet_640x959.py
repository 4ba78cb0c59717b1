"""U-Net at 640 x 959, half the image's size, which the JPEG codec gives for free.

Run:      make train predict EXP=unet_640x959 FOLD=0
Results:  none yet: it was never run in full
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(640, 959), batch_size=16),
    model=ModelConfig(depth=5, base_filters=32),
    training=TrainingConfig(epochs=50),
    prediction=PredictionConfig(batch_size=16),
)
