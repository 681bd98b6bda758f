"""Names of earlier versions that a configuration may still have, for one version."""

OLD_SYNTHETIC, SYNTHETIC = "phantom", "synthetic"


def with_new_names(config: dict) -> tuple[dict, list[str]]:
    """Rename what had another name in version 0.1.

    Args:
        config: A study's configuration as plain built-ins, unchecked.

    Returns:
        The configuration with today's names, and a sentence for each thing that was renamed.
    """
    if OLD_SYNTHETIC not in config or SYNTHETIC in config:
        return config, []
    renamed = {SYNTHETIC if key == OLD_SYNTHETIC else key: value for key, value in config.items()}
    old, new = f"resources/{OLD_SYNTHETIC}/", f"resources/{SYNTHETIC}/"
    cohorts = renamed.get("cohorts")
    if isinstance(cohorts, dict):
        renamed["cohorts"] = {name: _with_new_folder(cohort, old, new) for name, cohort in cohorts.items()}
    sentence = (
        f"`{OLD_SYNTHETIC}` is now called `{SYNTHETIC}`, and its archives are in {new} instead of {old}; the old names work in "
        "this version only: rename them in the study file."
    )
    return renamed, [sentence]


def _with_new_folder(cohort: object, old: str, new: str) -> object:
    address = cohort.get("base_url") if isinstance(cohort, dict) else None
    if not isinstance(address, str) or not address.startswith(old):
        return cohort
    return cohort | {"base_url": new + address.removeprefix(old)}
