"""What a Carvana submission is made of: the mean of three resolutions."""

from unets.config import EnsembleConfig

ENSEMBLE = EnsembleConfig(experiments=("unet_640x959", "unet_1024", "unet_1280x1918"))
