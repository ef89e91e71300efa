"""Counting what was delivered by whom, reconciling it with the origin, and reporting it.

See docs/statistics.md for what is counted, the wire format of a report and its bounds.
"""

from p2pcdn.stats.recorder import Recorder
from p2pcdn.stats.summary import Content, Counts, Note, Point, Summary

__all__ = ["Content", "Counts", "Note", "Point", "Recorder", "Summary"]
