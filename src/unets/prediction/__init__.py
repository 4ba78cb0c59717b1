"""From weights to probability maps."""
