"""The test set without its truth: which photos are odd, and why."""
