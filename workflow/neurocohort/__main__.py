"""``python -m neurocohort`` is the ``neurocohort`` command."""

from neurocohort.cli import main

main()
