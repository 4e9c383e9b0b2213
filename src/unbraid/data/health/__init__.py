"""The data doctor: `examine` a track when it is decoded, then `findings` over all of them, as a `table` or a `report`."""

from unbraid.data.health.diagnosis import Finding, findings, repairs
from unbraid.data.health.examination import Health, examine
from unbraid.data.health.screen import report, table

__all__ = ["Finding", "Health", "examine", "findings", "repairs", "report", "table"]
