"""What goes to Kaggle and comes from there: data, submissions, datasets for kernels."""
