"""The layout of an unknown folder of photos and masks: what lies in it, what it means, the config that says so."""
