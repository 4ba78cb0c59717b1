"""The studio: renders a small segmentation competition in Carvana's layout, ground truth included."""
