# Needs data/<cohort>/scans.tsv and the scans it names. Leaves results/<cohort>/preproc/<scan_id>/, its *_qc.json last.


rule preprocess_scan:
    """One scan: brain mask, bias field, affine to the template, intensities, volumes and quality numbers."""
    input:
        unpack(preprocess_inputs),
        template="results/template.npz",
    output:
        "results/{cohort}/preproc/{scan_id}/{scan_id}_qc.json",
    log:
        "logs/preprocess/{cohort}/{scan_id}.log",
    benchmark:
        "benchmarks/preprocess/{cohort}/{scan_id}.tsv"
    group:
        "preprocess"
    conda:
        ENVIRONMENT
    resources:
        **(GPU_MODEL if PREPROCESSING["device"] == "cuda" else {}),
        gpu=int(PREPROCESSING["device"] == "cuda"),
        scans=1,  # a cluster's job of several scans does them one after the other: the profiles allow one at a time
        mem_mb=lambda w, input, attempt: (8000 if input.weights else 3000) * attempt,
        runtime=lambda w, input, attempt: (30 if input.weights else 8) * attempt,
    params:
        code=code_hash("preprocess"),
        folder="results/{cohort}/preproc/{scan_id}",
        options=preprocess_options,
        brain_extraction=PREPROCESSING["brain_extraction"],
        registration=PREPROCESSING["registration"],
        intensity=PREPROCESSING["intensity"],
        min_template_dice=config["quality"]["min_template_dice"],
        min_mutual_information=config["quality"]["min_mutual_information"],
        min_brain_ml=config["quality"]["min_brain_ml"],
        max_brain_ml=config["quality"]["max_brain_ml"],
        max_mask_border_cm2=config["quality"]["max_mask_border_cm2"],
        seed=PREPROCESSING["seed"],
        device=PREPROCESSING["device"],
    shell:
        "neurocohort preprocess --scan {input.scan} --scan-id {wildcards.scan_id} --template {input.template}"
        " --folder {params.folder} --brain-extraction {params.brain_extraction} --registration {params.registration}"
        " --intensity {params.intensity} --min-template-dice {params.min_template_dice}"
        " --min-mutual-information {params.min_mutual_information}"
        " --min-brain-ml {params.min_brain_ml} --max-brain-ml {params.max_brain_ml}"
        " --max-mask-border-cm2 {params.max_mask_border_cm2} --seed {params.seed} --device {params.device}"
        " {params.options} > {log} 2>&1"


rule quality:
    """The cohort's quality table with outliers by site, and its exclusions with stage and reason."""
    input:
        scans="data/{cohort}/scans.tsv",
        exclusions="data/{cohort}/exclusions.tsv",
        records=qc_records,
    output:
        qc=report(
            "results/{cohort}/qc.tsv",
            caption="../report/quality.rst",
            category="Scans",
            subcategory="{cohort}",
            labels={"table": "quality numbers"},
        ),
        exclusions=report(
            "results/{cohort}/exclusions.tsv",
            caption="../report/exclusions.rst",
            category="Scans",
            subcategory="{cohort}",
            labels={"table": "exclusions"},
        ),
    log:
        "logs/quality/{cohort}.log",
    benchmark:
        "benchmarks/quality/{cohort}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(20),
    params:
        code=code_hash("quality"),
        preproc="results/{cohort}/preproc",
        max_outlier_z=config["quality"]["max_outlier_z"],
    shell:
        "neurocohort quality --scans {input.scans} --exclusions {input.exclusions} --preproc {params.preproc}"
        " --qc-output {output.qc} --exclusions-output {output.exclusions} --max-outlier-z {params.max_outlier_z} > {log} 2>&1"
