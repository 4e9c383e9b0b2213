"""Where the runs of a sweep run: each as fresh processes that read a frozen run folder, whatever starts them."""

from unbraid.sweeps.launchers.local import Local
from unbraid.sweeps.launchers.ray import Ray
from unbraid.sweeps.launchers.slurm import Slurm

__all__ = ["Local", "Ray", "Slurm"]
