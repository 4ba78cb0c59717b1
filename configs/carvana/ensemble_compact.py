"""What two cores can train, at three resolutions: make ensemble ENSEMBLE=compact."""

from unets.config import EnsembleConfig

ENSEMBLE = EnsembleConfig(experiments=("unet_compact", "unet_compact_320x480", "unet_compact_192x288"))
