"""Everything that can be configured: one frozen schema each for dataset, experiment and ensemble.

A competition is a folder `configs/<competition>/`. Its `dataset.py` defines `DATASET`, its `ensemble.py` (and further
ones, `ensemble_<name>.py`) `ENSEMBLE`, every other file `<name>.py` `EXPERIMENT`, with only what differs from the
defaults below.
What a run is *given* (fold, folders, device) is an argument; what an experiment *is* stands here. A misspelt or
impossible field fails when the file is loaded, before anything is read or trained.
"""

from unets.config.base import MIN_SIDE_PX, Config, Share, SizeHW, check_name, describe
from unets.config.dataset import DatasetConfig, SubmissionConfig
from unets.config.ensemble import STEPS, EnsembleConfig, Postprocessing, Threshold
from unets.config.experiment import ENCODERS, LOSS_ARGS, AugmentConfig, DataConfig, ExperimentConfig, LossName
from unets.config.experiment import ModelConfig, OptimizerName, PredictionConfig, ScheduleName, TrainingConfig
from unets.config.loading import is_ensemble, list_ensembles, list_experiments, load_dataset, load_ensemble
from unets.config.loading import list_seeds, load_experiment
from unets.config.overrides import list_fields, name_experiment, split_name
from unets.config.sources import Coding, CsvSource, MasksSource, PolygonSource, RleFormat, Source, TableSource
