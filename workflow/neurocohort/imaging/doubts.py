"""Notes on unusual numbers of a scan that is within the study's limits."""

# Limits between good scans (in brackets the extreme of 99 scans of OASIS-1 and 7 of IXI) and simulated faults. No limit of
# contrast separates them, so a scan of an atrophied brain may get a note.
SOME_CUT_CM2 = 5.0  # (3.3) against 35
SOME_MISSING = 0.005  # (0) against 0.007
LITTLE_CONTRAST = 0.12  # (0.10) against 0
ALL_FOREGROUND = 0.98  # (0.67 of painted chests and knees) against 1
MANY_IMPLAUSIBLE = 0.1  # (0.0002 of painted series) of the voxels with a diffusion tensor
SOME_TURN_DEGREES = 45.0  # (40, of tilted painted heads)


def doubts(metrics: dict[str, float | None]) -> list[str]:
    """Return a sentence for each number of a scan's record that someone should look at; `quality_limits` excludes scans."""
    found = {name: value for name, value in metrics.items() if value is not None}
    notes = []
    if (cut := found.get("mask_border_cm2", 0.0)) > SOME_CUT_CM2:
        notes.append(
            f"The brain mask is cut over {cut:.0f} cm2, by the border of the field of view or by a plain background; "
            "check whether a part of the brain is missing."
        )
    if (missing := found.get("missing_brain", 0.0)) > SOME_MISSING:
        notes.append(
            f"{missing:.1%} of the brain is outside of the field of view or in empty voxels; check whether a part is missing."
        )
    for name, pair in (("contrast_gm_csf", "grey matter and CSF"), ("contrast_wm_gm", "white and grey matter")):
        if (contrast := found.get(name, 1.0)) < LITTLE_CONTRAST:
            notes.append(
                f"The contrast between {pair} is low for a T1-weighted image: {contrast:.2f} of the brain's range of "
                "intensities; check whether it is one."
            )
    if (turn := found.get("head_turn_degrees", 0.0)) > SOME_TURN_DEGREES:
        notes.append(f"The head is turned by {turn:.0f} degrees; check its registration and its header.")
    if (share := found.get("foreground_fraction", 0.0)) > ALL_FOREGROUND:
        notes.append(
            f"The foreground is {share:.0%} of the image, so that no background was found; check the units of "
            "`preprocessing.window`, or whether the image was cropped."
        )
    if (outside := found.get("foreground_cut", 0.0)) > 0:
        needed = [round(found[f"needed_{axis}"]) for axis in "xyz"]
        notes.append(
            f"{outside:.2%} of the foreground is outside of the study's grid, which would hold it with `preprocessing.shape` "
            f"{needed}; check whether a part of interest is missing."
        )
    if (share := found.get("tensor_implausible", 0.0)) > MANY_IMPLAUSIBLE:
        notes.append(
            f"No plausible diffusion tensor was found in {share:.0%} of the brain's voxels; check the diffusion-weighted images "
            "for motion and distortion, and their b-values and directions."
        )
    if found.get("fa_wm", 1.0) < found.get("fa_gm", 0.0):
        notes.append(
            f"The median FA is {found['fa_wm']:.2f} in white and {found['fa_gm']:.2f} in grey matter; check the order of the "
            "diffusion-weighted images, their directions, and their registration to the T1-weighted image."
        )
    return notes
