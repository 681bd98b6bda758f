"""Names of earlier versions that a configuration may still use, for one version."""

OLD_SYNTHETIC, SYNTHETIC = "phantom", "synthetic"


def with_new_names(config: dict) -> tuple[dict, list[str]]:
    """Rename keys that had another name in version 0.1.

    Args:
        config: A study's configuration as plain built-ins, not checked yet.

    Returns:
        The configuration with current names, and a sentence for each renamed key.
    """
    if OLD_SYNTHETIC not in config or SYNTHETIC in config:
        return config, []
    renamed = {SYNTHETIC if key == OLD_SYNTHETIC else key: value for key, value in config.items()}
    old, new = f"resources/{OLD_SYNTHETIC}/", f"resources/{SYNTHETIC}/"
    cohorts = renamed.get("cohorts")
    if isinstance(cohorts, dict):
        renamed["cohorts"] = {name: _with_new_folder(cohort, old, new) for name, cohort in cohorts.items()}
    sentence = (
        f"`{OLD_SYNTHETIC}` is now called `{SYNTHETIC}`, and its archives are in {new} instead of {old}; the old names only work "
        "in this version: rename them in the study file."
    )
    return renamed, [sentence]


def _with_new_folder(cohort: object, old: str, new: str) -> object:
    address = cohort.get("base_url") if isinstance(cohort, dict) else None
    if isinstance(cohort, dict) and isinstance(address, str) and address.startswith(old):
        return cohort | {"base_url": new + address.removeprefix(old)}
    return cohort
