"""The keys `adaptation` of an experiment: what adapts a network to a new site without that site's labels."""

from pydantic import Field

from neurocohort.settings.base import Group, Name, Unique

FEWEST_SITE_SCANS = 8  # of a site whose batch statistics are recomputed


class Adaptation(Group):
    """Ways to adapt a network to a new site, each compared with the experiment itself."""

    experiments: Unique[Name] = Field(
        [],
        title="a list of experiments' names",
        description="Experiments with the same data, target and left-out sites and with other settings of the training, such as "
        "`training.adversarial_site`, which are compared with this one on the same scans. See "
        "[Adaptation](../docs/adaptation.md).",
    )
    batch_norm: bool = Field(
        False,
        description="Whether this experiment's networks also predict each new site with batch statistics recomputed from the "
        "scans of that site, without labels (adaptive batch normalisation). Networks with batch norm only; a site needs "
        f"{FEWEST_SITE_SCANS} scans.",
    )
