"""Everything that can be configured: one frozen schema each for dataset, experiment and ensemble.

A competition is a folder `configs/<competition>/`. Its `dataset.py` defines `DATASET`, its `ensemble.py` (and further
ones, `ensemble_<name>.py`) `ENSEMBLE`, every other file `<name>.py` `EXPERIMENT`, with only what differs from the
defaults below.
What a run is *given* (fold, folders, device) is an argument; what an experiment *is* stands here. A misspelt or
impossible field fails when the file is loaded, before anything is read or trained.
"""

from unets.config.base import MIN_SIDE_PX as MIN_SIDE_PX
from unets.config.base import Config as Config
from unets.config.base import Share as Share
from unets.config.base import SizeHW as SizeHW
from unets.config.base import check_name as check_name
from unets.config.base import describe as describe
from unets.config.dataset import DatasetConfig as DatasetConfig
from unets.config.dataset import SubmissionConfig as SubmissionConfig
from unets.config.ensemble import EnsembleConfig as EnsembleConfig
from unets.config.ensemble import Postprocessing as Postprocessing
from unets.config.ensemble import Threshold as Threshold
from unets.config.experiment import ENCODERS as ENCODERS
from unets.config.experiment import AugmentConfig as AugmentConfig
from unets.config.experiment import DataConfig as DataConfig
from unets.config.experiment import ExperimentConfig as ExperimentConfig
from unets.config.experiment import LossName as LossName
from unets.config.experiment import ModelConfig as ModelConfig
from unets.config.experiment import OptimizerName as OptimizerName
from unets.config.experiment import PredictionConfig as PredictionConfig
from unets.config.experiment import ScheduleName as ScheduleName
from unets.config.experiment import TrainingConfig as TrainingConfig
from unets.config.loading import is_ensemble as is_ensemble
from unets.config.loading import list_ensembles as list_ensembles
from unets.config.loading import list_experiments as list_experiments
from unets.config.loading import load_dataset as load_dataset
from unets.config.loading import load_ensemble as load_ensemble
from unets.config.loading import load_experiment as load_experiment
from unets.config.overrides import list_fields as list_fields
from unets.config.overrides import name_experiment as name_experiment
from unets.config.overrides import split_name as split_name
from unets.config.sources import CsvSource as CsvSource
from unets.config.sources import ImporterSource as ImporterSource
from unets.config.sources import MaskFiles as MaskFiles
from unets.config.sources import MasksCsv as MasksCsv
from unets.config.sources import MasksSource as MasksSource
from unets.config.sources import MaskValue as MaskValue
from unets.config.sources import PathsSource as PathsSource
from unets.config.sources import PatternSource as PatternSource
from unets.config.sources import PolygonSource as PolygonSource
from unets.config.sources import RleFormat as RleFormat
from unets.config.sources import Source as Source
from unets.config.sources import TableSource as TableSource
