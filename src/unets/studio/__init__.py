"""The demo competition: a photo studio, rendered."""
