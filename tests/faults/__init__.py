"""Small tools that make faults happen in tests: kills, faulty disks, damaged files, power failures and a wrong clock."""

from tests.faults.clock import jumping
from tests.faults.damage import cut, flip_bit
from tests.faults.disk import Disk, on_read_only
from tests.faults.kill import run_with_kills
from tests.faults.power import failing

__all__ = ["Disk", "cut", "failing", "flip_bit", "jumping", "on_read_only", "run_with_kills"]
