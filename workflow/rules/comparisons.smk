# Input and parameter functions of comparisons, of generative models, and of longitudinal analyses.


def control_metrics(wildcards):
    """The metrics of an experiment's controls; none if it has no controls."""
    kind = EXPERIMENTS[wildcards.experiment].get("control")
    names = control_names(wildcards.experiment, kind)
    return expand("results/experiments/{control}/metrics.tsv", control=names)


def control_files(wildcards, file):
    """``file`` of the networks of an experiment's controls; none if it has no controls."""
    names = control_names(
        wildcards.experiment, EXPERIMENTS[wildcards.experiment].get("control")
    )
    return [path for name in names for path in member_files(name, file)]


def atlas_files():
    """The user's atlas and the table of its regions; none if the regions are the template's blocks."""
    atlas = (config["saliency"].get("regions") or {}).get("atlas")
    return [atlas, str(own_table(Path(atlas)))] if atlas else []


def points_of(experiment):
    """The points of the learning curve of an experiment; none if it has none."""
    return curve_points(experiment, config["experiments"][experiment]["learning_curve"])


def learning_curve_files(wildcards, file):
    """``file`` of all points of a learning curve."""
    return [
        f"results/experiments/{point.experiment}/{file}"
        for point in points_of(wildcards.experiment)
    ]


def applied_option(wildcards):
    """The experiment that was applied without training as an option, or why there is none."""
    source, reason = applied_source(config["experiments"], wildcards.experiment)
    return f"--applied={source}" if source else f"--reason={reason}"


def without_sites(file):
    """``file`` of each experiment that repeats another one without one of its sites."""
    return [
        f"results/experiments/{other}/{file}"
        for name, experiment in config["experiments"].items()
        for other in without_site_names(name, experiment["leave_one_site_out"])
    ]


def new_sites_of(experiment):
    """The sites that an experiment with `adaptation` was not trained on; none without."""
    return new_sites(config["experiments"], experiment)


def new_site_files(wildcards, file):
    """`file` of every experiment that is compared at a new site."""
    return [
        f"results/experiments/{experiment}/{file}"
        for place in new_sites_of(wildcards.experiment)
        for experiment in place.experiments.values()
    ]


def reference_files(wildcards, file):
    """`file` of the experiment itself at each new site."""
    return [
        f"results/experiments/{place.experiments[wildcards.experiment]}/{file}"
        for place in new_sites_of(wildcards.experiment)
    ]


def recomputes(experiment):
    """Whether an experiment also predicts with recomputed batch statistics."""
    return config["experiments"][experiment]["adaptation"]["batch_norm"]


def session_features(wildcards):
    """The features of the networks of the experiment that a longitudinal analysis names."""
    name = ANALYSES[wildcards.analysis].get("features")
    return member_files(name, "features.npz") if name else []


def session_networks(wildcards):
    """The records of these networks."""
    name = ANALYSES[wildcards.analysis].get("features")
    return member_files(name, "run.json") if name else []


def learned_samples(wildcards):
    """The samples that these networks, and those that they started from, learned from, by experiment."""
    chain = feature_chain(EXPERIMENTS, ANALYSES[wildcards.analysis])
    return {name: f"results/experiments/{name}/training/samples.tsv" for name in chain}


# The experiments with a generative model of their scans.
GENERATING = [
    name for name, experiment in config["experiments"].items() if generates(experiment)
]
# Those of them whose held-out scans are changed for another value of the target.
COUNTERFACTUAL = [
    name
    for name in GENERATING
    if config["experiments"][name]["generation"].get("counterfactual")
]


def counterfactual_of(wildcards):
    """How the held-out scans are changed."""
    wanted = config["experiments"][wildcards.experiment]["generation"]
    return json.dumps(wanted["counterfactual"], sort_keys=True)


def generator_of(wildcards):
    """The settings of the generative model's training."""
    wanted = config["experiments"][wildcards.experiment]["generation"]
    return generator_settings(EXPERIMENTS[wildcards.experiment], wanted).as_json()


def learner_of(wildcards):
    """The settings of the network that learns from generated images."""
    return learner_settings(EXPERIMENTS[wildcards.experiment]).as_json()


def evaluated_with_generation(wildcards):
    """The experiment with its generative model, for the record of evaluations."""
    wanted = config["experiments"][wildcards.experiment]["generation"]
    own = without_counterfactual(wanted)
    return json.dumps(
        {**EXPERIMENTS[wildcards.experiment], "generation": own}, sort_keys=True
    )


def member_of_reference(wildcards, file):
    """``file`` of the network that the one from generated images is compared with."""
    name = wildcards.experiment
    member = reference_member(EXPERIMENTS[name])
    return f"results/experiments/{name}/{member}/{file}"
