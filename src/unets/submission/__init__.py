"""From masks to a submission file, its check, and Kaggle."""
