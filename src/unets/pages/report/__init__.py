"""The report: one page of all that was trained and judged, which opens from disk."""
