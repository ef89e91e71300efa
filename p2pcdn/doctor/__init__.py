"""`p2pcdn doctor`: visits a page as its visitors do, and says in plain words what stands in the
way of sharing. Needs nothing but the standard library, so it runs anywhere, against any site.
"""

from p2pcdn.doctor.examine import examine
from p2pcdn.doctor.findings import Finding, Report, Status

__all__ = ["Finding", "Report", "Status", "examine"]
