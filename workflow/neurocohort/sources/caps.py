"""The ingest of a CAPS folder: the images of Clinica's pipeline t1-linear, with which ClinicaDL 1.x works."""

from collections.abc import Sequence
from pathlib import Path

from neurocohort.sources.bids import carried_over
from neurocohort.sources.caps_plan import plan_caps
from neurocohort.sources.columns import IngestResult
from neurocohort.sources.local_scans import check_source_outside, ingest_local


def ingest_caps(
    source: Path | str,
    folder: Path | str,
    *,
    participants_tsv: Path | str | None = None,
    run: str = "first",
    modalities: Sequence[str] = ("T1w",),
) -> IngestResult:
    """Turn the t1-linear images of a CAPS folder into the raw BIDS layout.

    Of a session's images the one that isn't cropped is taken; the cropped one only if there is no other, with a note. Images of
    other pipelines (t1-volume, pet-linear, ...) aren't read.

    Args:
        source: The CAPS folder.
        folder: The cohort's folder.
        participants_tsv: A table with participant_id, session_id if it has a row per session, and variables, such as ClinicaDL's
            labels.tsv.
        run: Which of several runs of a session: ``first``, ``last`` or ``all``.
        modalities: T1w; a CAPS folder has no other one here.

    Raises:
        InputError: If ``source`` isn't a CAPS folder, no image can be used, the table can't be read, or ``run`` is unknown.
    """
    source, folder, table = Path(source), Path(folder), Path(participants_tsv) if participants_tsv else None
    check_source_outside(source, folder)
    plan = plan_caps(source, participants_tsv=table, run=run, modalities=modalities)
    return ingest_local(plan, folder, carried_over(plan.notes, source), source, [table] if table else [])
