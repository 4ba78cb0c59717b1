"""The data set: which images there are, their masks, groups and folds."""
