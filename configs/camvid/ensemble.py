"""What a submission for camvid is made of."""

from unets.config import EnsembleConfig

# No background: each pixel gets its most probable class, however sure that is.
ENSEMBLE = EnsembleConfig(experiments=("unet_360x480",), threshold=0.0)
