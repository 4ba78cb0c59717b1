"""What a submission for membranes is made of."""

from unets.config import EnsembleConfig

ENSEMBLE = EnsembleConfig(experiments=("unet_512x512",))
