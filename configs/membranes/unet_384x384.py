"""U-Net at 384 x 384 pixels, images of 512 x 512 fitted to it. Meant for a CPU, one fold: some minutes.

Run:      make pipeline COMPETITION=membranes EXP=unet_384x384
"""

from unets.config import AugmentConfig, DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(384, 384), batch_size=4, augment=AugmentConfig(hue_deg=0.0, saturation=0.0, grey=0.0)),
    model=ModelConfig(
        encoder="efficientnet_lite0",
        weights="imagenet",
        stride=2,
        encoder_shrink=2,
        base_filters=16,
        max_filters=128,
    ),
    training=TrainingConfig(epochs=60, learning_rate=0.004, encoder_rate=0.1, clip_norm=1.0, ema=0.99),
    prediction=PredictionConfig(batch_size=4),
    # One fold is enough to see what works; all of them make a better submission.
    folds=(0,),
)
