"""Networks, losses and metrics: keras in, keras out; knows no file."""
