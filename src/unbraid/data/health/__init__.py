"""Health checks of a data set.

`examine` measures a track when it is decoded, `findings` compares the measurements of all tracks with thresholds, and `table`
and `report` format the result for the terminal and for JSON.
"""

from unbraid.data.health.diagnosis import Finding, findings, repairs
from unbraid.data.health.examination import Health, examine
from unbraid.data.health.screen import report, table

__all__ = ["Finding", "Health", "examine", "findings", "repairs", "report", "table"]
