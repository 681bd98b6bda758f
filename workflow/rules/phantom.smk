# Needs nothing. Leaves the demo's synthetic cohorts as archives in the layouts of the real sources.
PHANTOM = config.get("phantom") or {}


rule phantom_ixi:
    """A synthetic cohort of three sites, as IXI's tar and spreadsheet."""
    output:
        [
            f"resources/phantom/ixi/IXI-{modality[:2]}.tar"
            for modality in PHANTOM.get("ixi", {}).get("modalities", ["T1w"])
        ],
        "resources/phantom/ixi/IXI.xls",
    log:
        "logs/phantom/ixi.log",
    benchmark:
        "benchmarks/phantom/ixi.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(20),
    params:
        **(
            PHANTOM.get("ixi", {})
            | {"modalities": ",".join(PHANTOM.get("ixi", {}).get("modalities", []))}
        ),
        code=code_hash("phantom"),
        folder=lambda w, output: os.path.dirname(output[0]),
    shell:
        "neurocohort phantom --source ixi --folder {params.folder} --participants {params.participants}"
        " --seed {params.seed} --spacing-mm {params.spacing_mm} --modalities {params.modalities} > {log} 2>&1"


rule phantom_oasis1:
    """A synthetic cohort with dementia and repeat sessions, as OASIS-1's disc archives and table."""
    output:
        [
            f"resources/phantom/oasis1/oasis_cross-sectional_disc{disc}.tar.gz"
            for disc in range(1, PHANTOM.get("oasis1", {}).get("discs", 2) + 1)
        ],
        "resources/phantom/oasis1/oasis_cross-sectional.csv",
    log:
        "logs/phantom/oasis1.log",
    benchmark:
        "benchmarks/phantom/oasis1.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(20),
    params:
        **PHANTOM.get("oasis1", {}),
        code=code_hash("phantom"),
        folder=lambda w, output: os.path.dirname(output[0]),
    shell:
        "neurocohort phantom --source oasis1 --folder {params.folder} --participants {params.participants}"
        " --seed {params.seed} --spacing-mm {params.spacing_mm} --discs {params.discs} > {log} 2>&1"
