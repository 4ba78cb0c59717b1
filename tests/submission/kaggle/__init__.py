"""Tests of `unets.submission.kaggle`; in a folder `kaggle` they would hide the client's package of that name."""
