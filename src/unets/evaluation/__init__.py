"""What runs reached and what it cost: tables, comparisons, records.

`runs` reads the run folders, `scores` the out-of-fold scores of experiments and ensembles. With these `compare` says
which of two is better, `contributions` what each part of an ensemble adds, and `results` keeps records. `predictions`
opens the maps behind scores, for whoever shows masks; `trackers` hand a run's curves to other tools.
"""
