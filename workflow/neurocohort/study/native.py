"""Checks of `preprocessing`: what belongs to another registration, and in native space what needs the template or the brain."""

from collections.abc import Iterator

from neurocohort.learning.published import PUBLISHED
from neurocohort.settings.scan import NATIVE, LearnedRegistration
from neurocohort.study.messages import listed

WHY = "`preprocessing.space` is native, where images are neither registered nor skull-stripped, and have no tissues"
# Keys of `preprocessing` that only brains have, and the value that leaves each out.
OF_BRAINS = {
    "brain_extraction": "deepbet",
    "device": "cpu",
    "affine": "simpleitk",
    "registration": "affine",
    "tissue_maps": False,
    "modulated_gm": False,
}
FITTING_SOURCES = ("bids", "table", "ixi")


def native_faults(config: dict) -> Iterator[str]:
    """Yield a sentence for each key that doesn't fit the study's space or registration.

    ``config``: the configuration with all defaults.
    """
    preprocessing = config["preprocessing"]
    window = preprocessing.get("window")
    if preprocessing["registration"] != "learned" and preprocessing["learned"] != LearnedRegistration().model_dump():
        yield (
            f"`preprocessing.learned` is only for `preprocessing.registration: learned`, and the registration is "
            f"{preprocessing['registration']}; set it, or leave `learned` out."
        )
    if preprocessing["space"] != NATIVE:
        if window:
            yield (
                "`preprocessing.window` is only for `preprocessing.space: native`; brains are scaled by "
                "`preprocessing.intensity`. Leave it out, or set the space."
            )
        return
    if window and not window[0] < window[1]:
        yield f"`preprocessing.window` is {window}; expected the lower intensity first, such as [-1000, 400]."
    for key, value in OF_BRAINS.items():
        if preprocessing[key] != value:
            found = str(preprocessing[key]).lower() if isinstance(value, bool) else preprocessing[key]
            yield f"`preprocessing.{key}` is {found}, and {WHY}; leave the key out."
    if preprocessing["intensity"] == "white_matter_peak":
        yield f"`preprocessing.intensity` is white_matter_peak, and {WHY}; expected percentile or zscore, or a `window`."
    if config["evaluation"]["harmonisation"] != "none":
        yield f"`evaluation.harmonisation` corrects volumes of tissues, and {WHY}; leave the key out."
    for name, cohort in config["cohorts"].items():
        yield from _cohort_faults(name, cohort)
    for name, experiment in config["experiments"].items():
        if [*experiment["modalities"]] != ["T1w"]:
            yield (
                f"`experiments.{name}.modalities` is {listed(experiment['modalities'])}; with `preprocessing.space: native` "
                "expected [T1w], the name of a scan's image in this workflow, whatever its contrast; leave the key out."
            )
        if (experiment.get("transfer") or {}).get("weights") == PUBLISHED:
            yield f"`experiments.{name}.transfer.weights` is {PUBLISHED}, which was trained on brains, and {WHY}; leave it out."


def _cohort_faults(name: str, cohort: dict) -> Iterator[str]:
    key = f"cohorts.{name}"
    if cohort["source"] not in FITTING_SOURCES:
        why = "images are in MNI space" if cohort["source"] == "caps" else "label maps are those of other images"
        yield (
            f"`{key}.source` is {cohort['source']}, whose {why}, and `preprocessing.space` is native; expected one of "
            f"{listed(FITTING_SOURCES)}."
        )
        return
    for flag in ("mni_space", "skull_stripped"):
        if cohort.get(flag):
            yield f"`{key}.{flag}` is true, and {WHY}; leave the key out."
    if [*cohort["modalities"]] != ["T1w"]:
        yield (
            f"`{key}.modalities` is {listed(cohort['modalities'])}; with `preprocessing.space: native` a scan has one image: "
            "leave the key out."
        )
