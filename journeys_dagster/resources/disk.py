"""The disk: recognising its faults in the errors of libraries, and writes that outlast a power cut."""

import os
from pathlib import Path

_FULL = "is full: free some space there"
_READ_ONLY = "cannot be written, it is read-only: make it writable, or name another folder by JOURNEYS_HOME"
_FAULTS = {
    "no space left on device": _FULL,
    "disk is full": _FULL,
    "disk quota exceeded": "has no quota left: free some space there, or raise the quota",
    "file too large": "takes no file of that size: raise the limit on file sizes (ulimit -f)",
    "read-only file system": _READ_ONLY,
    "readonly database": _READ_ONLY,
    "permission denied": "may not be written by this user: change its owner or permissions",
}


def disk_fault(error: BaseException) -> str | None:
    """What the matter is with the disk and what to do, to be said of a folder.

    Parameters
    ----------
    error : exception
        What was caught; its causes are looked at too.

    Returns
    -------
    str or None
        None where the error is about something else.
    """
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).lower()
        for said, fault in _FAULTS.items():
            if said in text:
                return fault
        cause = cause.__cause__ or cause.__context__
    return None


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
