"""What the demo's submission is made of: the mean of three resolutions, as for Carvana."""

from unets.config import EnsembleConfig

ENSEMBLE = EnsembleConfig(experiments=("unet_128x192", "unet_205", "unet_256x384"))
