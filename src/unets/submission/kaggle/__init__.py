"""What goes to Kaggle and comes from there: data, submissions, leaderboard, datasets for kernels."""
