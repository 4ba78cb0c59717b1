"""U-Net at 360 x 480 pixels, as the images are. Meant for a CPU, one fold: some minutes.

Run:      make pipeline COMPETITION=camvid EXP=unet_360x480
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(360, 480), batch_size=4),
    model=ModelConfig(
        encoder="efficientnet_lite0",
        weights="imagenet",
        stride=2,
        encoder_shrink=2,
        base_filters=16,
        max_filters=128,
    ),
    # `unets new` wrote 8 epochs; half of them were run, as other work shared the cores.
    training=TrainingConfig(epochs=4, learning_rate=0.004, encoder_rate=0.1, clip_norm=1.0, ema=0.99),
    prediction=PredictionConfig(batch_size=4),
    # One fold is enough to see what works; all of them make a better submission.
    folds=(0,),
)
