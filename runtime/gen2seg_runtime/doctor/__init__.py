"""Will this bundle run on this machine, and on what? `examine` reads the manifest and asks the machine."""

from gen2seg_runtime.doctor.examination import examine
from gen2seg_runtime.doctor.report import Report, Verdict

__all__ = ["Report", "Verdict", "examine"]
