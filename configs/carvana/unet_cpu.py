"""A U-Net that a laptop trains in an hour: one fold, blocks of 4 x 4 pixels folded into channels before the first level.

The net sees 640 x 959 pixels and answers at 640 x 959; its finest level works at 160 x 240.

Run:      make pipeline COMPETITION=carvana EXP=unet_cpu INPUT=<photos of some 50 cars>
Results:  results/carvana/unet_cpu.json
"""

from unets.config import AugmentConfig, DataConfig, ExperimentConfig, ModelConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(640, 959), batch_size=8, augment=AugmentConfig()),
    model=ModelConfig(depth=5, base_filters=16, stem_stride=4),
    training=TrainingConfig(epochs=40, learning_rate=2e-3),
    folds=(0,),
)
