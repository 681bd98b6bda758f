# Two jobs of a few seconds that `neurocohort doctor --cluster` sends through a profile, to test what jobs find on the nodes.
from snakemake_support.run import gpu_model, job_prefix, watch

shell.prefix(job_prefix())
watch(workflow)


rule all:
    input:
        expand("{kind}.json", kind=config["kinds"].split("+")),
    localrule: True


rule cpu:
    """What a job without a GPU finds."""
    output:
        "cpu.json",
    log:
        "cpu.log",
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        address=config["address"],
    shell:
        "neurocohort probe --output {output} --address {params.address:q} > {log} 2>&1"


rule gpu:
    """What a job with a GPU finds."""
    output:
        "gpu.json",
    log:
        "gpu.log",
    resources:
        **gpu_model(workflow),
        gpu=1,
        mem_mb=8000,
        runtime=10,
    params:
        address=config["address"],
    shell:
        "neurocohort probe --output {output} --address {params.address:q} > {log} 2>&1"
