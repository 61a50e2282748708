"""Published data sets turned into landing data. Each module reads one: from a path it is given, or from a package."""

from lab.importers.complete_journey import complete_journey_frames, import_complete_journey
from lab.importers.landing import DataSetError, ImportSummary
from lab.importers.online_retail import import_online_retail, online_retail_frames

__all__ = [
    "DataSetError",
    "ImportSummary",
    "complete_journey_frames",
    "import_complete_journey",
    "import_online_retail",
    "online_retail_frames",
]
