"""Who is told how a run goes, beside `metrics.csv`: W&B and TensorBoard, all under the same keys."""

from unbraid.loggers.logger import About, Logger, Loggers
from unbraid.loggers.media import Media
from unbraid.loggers.tensorboard_events import TensorBoard
from unbraid.loggers.wandb_page import Wandb

__all__ = ["About", "Logger", "Loggers", "Media", "TensorBoard", "Wandb"]
