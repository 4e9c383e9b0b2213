"""Launchers start each run of a sweep as a new process, which reads the complete config of the run from the run folder."""

from unbraid.sweeps.launchers.local import Local
from unbraid.sweeps.launchers.ray import Ray
from unbraid.sweeps.launchers.slurm import Slurm

__all__ = ["Local", "Ray", "Slurm"]
