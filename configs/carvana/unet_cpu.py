"""A U-Net that a laptop trains in an hour: one fold, blocks of 2 x 2 pixels folded into channels before the net.

The net sees 320 x 480 pixels and answers at 320 x 480; its finest level works at 160 x 240. docs/log says what else was
tried.

Run:      make pipeline COMPETITION=carvana EXP=unet_cpu INPUT=<images of some 50 cars>
Results:  docs/results/carvana/unet_cpu.json
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(320, 480), batch_size=4),
    model=ModelConfig(depth=5, base_filters=16, max_filters=256, stride=2),
    training=TrainingConfig(epochs=60, learning_rate=1e-3, clip_norm=1.0),
    prediction=PredictionConfig(batch_size=16),
    folds=(0,),
)
