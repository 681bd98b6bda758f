# Input: none. Output: the synthetic cohorts of the demo, as archives in the layout of the real sources.
SYNTHETIC = config.get("synthetic") or {}


rule synthetic_ixi:
    """Synthetic cohort with three sites, as tar archive and spreadsheet like IXI."""
    output:
        synthetic_ixi_files(),
    log:
        "logs/synthetic/ixi.log",
    benchmark:
        "benchmarks/synthetic/ixi.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(20),
    params:
        **(
            SYNTHETIC.get("ixi", {})
            | {"modalities": ",".join(SYNTHETIC.get("ixi", {}).get("modalities", []))}
        ),
        code=code_hash("synthetic"),
        folder=lambda w, output: os.path.dirname(output[0]),
    shell:
        "neurocohort synthetic --source ixi --folder {params.folder} --participants {params.participants}"
        " --seed {params.seed} --spacing-mm {params.spacing_mm} --modalities {params.modalities} > {log} 2>&1"


rule synthetic_oasis1:
    """Synthetic cohort with dementia and repeat sessions, as disc archives and table like OASIS-1."""
    output:
        [
            f"resources/synthetic/oasis1/oasis_cross-sectional_disc{disc}.tar.gz"
            for disc in range(1, SYNTHETIC.get("oasis1", {}).get("discs", 2) + 1)
        ],
        "resources/synthetic/oasis1/oasis_cross-sectional.csv",
    log:
        "logs/synthetic/oasis1.log",
    benchmark:
        "benchmarks/synthetic/oasis1.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(20),
    params:
        **SYNTHETIC.get("oasis1", {}),
        code=code_hash("synthetic"),
        folder=lambda w, output: os.path.dirname(output[0]),
    shell:
        "neurocohort synthetic --source oasis1 --folder {params.folder} --participants {params.participants}"
        " --seed {params.seed} --spacing-mm {params.spacing_mm} --discs {params.discs}"
        " --grey {params.grey} > {log} 2>&1"
