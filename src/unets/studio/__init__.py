"""The photo studio: renders a small segmentation competition in Carvana's layout, truth included."""
