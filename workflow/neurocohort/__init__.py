"""neurocohort: from a public brain-MRI cohort's download address to a held-out report."""

__version__ = "0.1.0"
