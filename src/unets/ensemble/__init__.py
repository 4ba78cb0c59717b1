"""From probability maps to final masks: blending, selection, post-processing."""
