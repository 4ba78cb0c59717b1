"""One fold of one experiment: from batches to weights in a run folder."""
