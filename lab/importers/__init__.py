"""Published data sets turned into landing data. Each module reads one of them from a path it is given."""

from lab.importers.online_retail import (
    ImportSummary,
    OnlineRetailError,
    import_online_retail,
    online_retail_frames,
)

__all__ = ["ImportSummary", "OnlineRetailError", "import_online_retail", "online_retail_frames"]
