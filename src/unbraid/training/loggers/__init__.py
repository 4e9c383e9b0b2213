"""Loggers that send each row of `metrics.csv` to Weights & Biases, TensorBoard or MLflow, under the same metric names."""

from unbraid.training.loggers.logger import About, Logger, Loggers
from unbraid.training.loggers.media import Media
from unbraid.training.loggers.mlflow_runs import MLflow
from unbraid.training.loggers.tensorboard_events import TensorBoard
from unbraid.training.loggers.wandb_page import Wandb

__all__ = ["About", "Logger", "Loggers", "MLflow", "Media", "TensorBoard", "Wandb"]
