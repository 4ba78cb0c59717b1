"""unets: from a folder of photos to a validated segmentation submission."""

__version__ = "0.1.0"
