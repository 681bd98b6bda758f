# `snakemake` in this folder runs the workflow, which is workflow/Snakefile.
include: "workflow/Snakefile"


rule everything:
    """What `all` makes: an included file has no default target."""
    default_target: True
    input:
        rules.all.input,
    localrule: True
