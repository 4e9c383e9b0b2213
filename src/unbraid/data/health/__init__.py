"""Find problems in the audio of a data set, such as clipping, silent sources and duplicate tracks.

`examine` measures a track when it is decoded. `findings` compares the measurements of all tracks with thresholds. `table` and
`report` format the measurements and warnings for the terminal and for JSON.
"""

from unbraid.data.health.diagnosis import Finding, findings, repairs
from unbraid.data.health.examination import Health, examine
from unbraid.data.health.screen import report, table

__all__ = ["Finding", "Health", "examine", "findings", "repairs", "report", "table"]
