"""neurocohort: from a public brain-MRI cohort's download address to a held-out report."""
