"""What the submission in parts is made of: one net."""

from unets.config import EnsembleConfig

ENSEMBLE = EnsembleConfig(experiments=("unet_256x384",))
