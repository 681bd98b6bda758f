"""The BIDS App: models applied to the scans of a BIDS dataset, as `neurocohort bids`.

The participant level writes each scan's files (`participants`), and may run in many processes on disjoint participants. The group
level collects them (`group`).
"""
