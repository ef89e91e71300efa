"""The peer coordinator as a state machine: who is here, who has what, who may talk to whom."""

from p2pcdn.coordinator.admission import Admission, Verdict, origin_allowed
from p2pcdn.coordinator.core import Coordinator
from p2pcdn.coordinator.limits import Limits
from p2pcdn.coordinator.ranking import Area, Candidate, DefaultRanker, Locate, Ranker

__all__ = [
    "Admission",
    "Area",
    "Candidate",
    "Coordinator",
    "DefaultRanker",
    "Limits",
    "Locate",
    "Ranker",
    "Verdict",
    "origin_allowed",
]
