"""Launchers: classes that start each run of a sweep in a new process. The process reads the config from the run folder."""

from unbraid.sweeps.launchers.local import Local
from unbraid.sweeps.launchers.ray import Ray
from unbraid.sweeps.launchers.slurm import Slurm

__all__ = ["Local", "Ray", "Slurm"]
