"""Run folders and what keeps them whole: paths, locks, atomic files, fingerprints."""
