"""The landing zone's contract: which sources there are, how their files are read, checked and written.

Pure functions on paths and frames. Which landing zone a run reads is a matter of `resources`.
"""
