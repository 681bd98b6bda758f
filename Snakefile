# Makes `snakemake` in this folder run the workflow, which is workflow/Snakefile.
include: "workflow/Snakefile"


rule everything:
    """Same as `all`: an included file can't have a default target."""
    default_target: True
    input:
        rules.all.input,
    localrule: True
