"""A trained model at work on anybody's photos: masks, cut-outs, overlays."""
