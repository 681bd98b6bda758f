"""From a bundle and scans to predictions, flags, tables and pages: `neurocohort predict`, and the same for other programs.

from neurocohort.apply.predict import predict_scans
from neurocohort.apply.scans import scans_from_paths

outcomes = predict_scans(Path("results/models/brain_age"), scans_from_paths([Path("T1w.nii.gz")]), Path("out"))
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from neurocohort.apply.bundles import RawScanBundle, open_bundle
from neurocohort.apply.one_scan import Options, predict_scan
from neurocohort.apply.outcomes import Outcome
from neurocohort.apply.pages import write_index, write_page
from neurocohort.apply.results import write_images, write_tables
from neurocohort.apply.scans import RawScan
from neurocohort.device import choose_device
from neurocohort.errors import InputError
from neurocohort.export.raw_scans import REGISTRATION
from neurocohort.imaging.learned_constants import needs_network
from neurocohort.progress import steps_shown

SYNTHSTRIP = "synthstrip"


def predict_scans(
    model: Path,
    scans: Sequence[RawScan],
    output: Path,
    options: Options = Options(),  # noqa: B008  (it is frozen)
    device: str = "auto",
    done: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Apply the bundle in ``model`` to scans, one after the other in this process, and write the files of each into ``output``.

    A scan that can't be used costs only itself. Each scan goes through the networks alone, so that its prediction doesn't depend
    on the other scans.

    Args:
        model: The bundle's folder.
        scans: The scans.
        output: The folder of the tables, pages and images; made if absent.
        options: How scans are treated.
        device: ``auto`` or ``cpu``, or ``cuda``, which also finds the brain mask on the GPU.
        done: Called after each scan.

    Returns:
        What became of each scan, in their order.

    Raises:
        InputError: If the model or an option can't be used.
    """
    if not scans:
        raise InputError("no scan is given: name at least one image file, or a table with --table.")
    bundle, options = open_model(model, options, device)
    outcomes: list[Outcome] = []
    names = [scan.scan_id for scan in scans]
    with steps_shown("scans", 0, len(scans), shown=True, unit="scan") as step:
        for outcome in outcomes_of(bundle, scans, options):
            write_images(output, outcome)
            write_page(output, bundle, names, outcome)
            outcomes.append(_without_images(outcome))
            done(outcome)
            step.update()
    write_tables(output, bundle, outcomes)
    write_index(output, bundle, outcomes)
    return outcomes


def open_model(model: Path, options: Options, device: str) -> tuple[RawScanBundle, Options]:
    """Open the bundle in ``model`` on a ``device`` as of `predict_scans`, and complete the options for it.

    Raises:
        InputError: If the model or an option can't be used.
    """
    bundle = open_bundle(model, choose_device(device))
    if bundle.preprocessing.brain_extraction == SYNTHSTRIP and options.weights is None:
        raise InputError(
            "the model's study found the brain masks with SynthStrip, whose weights are not in the bundle: give the file that "
            "the study downloaded with --synthstrip-weights."
        )
    if bundle.native and (options.mni_space or options.skull_stripped):
        option = "--mni-space" if options.mni_space else "--skull-stripped"
        raise InputError(
            f"{option} is for models of brains, and the model {bundle.experiment} takes scans in native space, as they "
            "are; leave it out."
        )
    if needs_network(bundle.preprocessing.as_dict()) and bundle.registration_network is None:
        raise InputError(
            f"{model} has no {REGISTRATION}, with which its study registered the scans. Copy the bundle again."
        )
    return bundle, replace(options, brain_device="cuda") if device == "cuda" else options


def outcomes_of(bundle: RawScanBundle, scans: Sequence[RawScan], options: Options) -> Iterator[Outcome]:
    """Yield what becomes of each scan. Nothing is written."""
    return (predict_scan(bundle, scan, options) for scan in scans)


def _without_images(outcome: Outcome) -> Outcome:
    """The outcome without the arrays of its images, so that memory doesn't grow with the number of scans."""
    if outcome.result is None:
        return outcome
    return replace(outcome, labels=None, result=replace(outcome.result, derivatives=None, labels=None))
