"""A wrong configuration is refused before anything runs, in a sentence that names the key and the fix."""

import copy
import datetime
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from neurocohort.dataset.filters import filter_columns
from neurocohort.errors import InputError
from neurocohort.learning.architectures import ARCHITECTURES
from neurocohort.learning.settings import read_settings
from neurocohort.settings.study import json_schema
from neurocohort.study.cohorts import KEYS_OF_SOURCE, VARIABLES_OF_SOURCE
from neurocohort.study.configuration import check_configuration, load_configuration
from neurocohort.study.members import all_experiments, draws_of, members_of, starting_members, training_settings
from neurocohort.study.messages import resolve
from neurocohort.study.reference import ROW, key_rows, with_current_tables

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "config/config.yaml"
SOURCE = "config/study.yaml"
LEFT_OUT = object()


@pytest.fixture
def demo():
    return load_configuration([DEMO])


@pytest.fixture(scope="module")
def schema():
    return json_schema()


def changed(config, key, value):
    """``config`` with one dotted key set, or left out."""
    config = copy.deepcopy(config)
    *groups, last = key.split(".")
    place = config
    for group in groups:
        place = place.setdefault(group, {})
    if value is LEFT_OUT:
        del place[last]
    else:
        place[last] = value
    return config


def refusal(config, **options):
    with pytest.raises(InputError) as caught:
        check_configuration(config, source=SOURCE, **options)
    return str(caught.value)


AGE, DEMENTIA, TISSUE = "experiments.brain_age", "experiments.dementia", "experiments.tissue"

# (key to change, its value, what the message must say)
WRONG = {
    "key misspelt": (
        "preprocesing",
        {},
        ["unknown key `preprocesing`", "keys here are study", "did you mean `preprocessing`?"],
    ),
    "key misspelt below": (
        f"{AGE}.training.epoch",
        3,
        [f"unknown key `{AGE}.training.epoch`", "did you mean `epochs`?"],
    ),
    "key one level too high": (f"{AGE}.epochs", 3, [f"unknown key `{AGE}.epochs`", f"belongs under `{AGE}.training`"]),
    "key far from any other": ("zzz", 3, ["unknown key `zzz`", "keys here are study, demo_data"]),
    "key missing": (f"{AGE}.target", LEFT_OUT, [f"`{AGE}.target` is missing", "the variable to predict"]),
    "no experiments": ("experiments", {}, ["`experiments` has no keys", "at least one experiment"]),
    "cohorts left empty": ("cohorts", None, ["`cohorts` is empty", "at least one cohort"]),
    "number as text": (
        f"{AGE}.training.epochs",
        "forty",
        [f"`{AGE}.training.epochs` is the text `forty`", "whole number"],
    ),
    "number in quotes": (f"{AGE}.training.epochs", "40", ["is the text `40`", "write `40`"]),
    "exponent that YAML reads as text": (
        *(f"{AGE}.training.learning_rate", "1e-5"),
        ["is the text `1e-5`", "YAML reads it as a text, so write `0.00001`"],
    ),
    "decimal for a whole number": (f"{AGE}.training.epochs", 40.0, ["is 40.0", "whole number", "write `40`"]),
    "yes for a number": (
        f"{AGE}.training.batch_size",
        True,
        [f"`{AGE}.training.batch_size` is true", "YAML reads `on`, `yes`"],
    ),
    "text for a switch": (
        "demo_data",
        "yes please",
        ["`demo_data` is the text `yes please`", "true or false", "without quotes"],
    ),
    "not a number": (f"{AGE}.training.learning_rate", float("nan"), ["is nan", "a number above 0 and at most 1"]),
    "negative seed": ("split.seed", -1, ["`split.seed` is -1", "from 0 to 4294967295"]),
    "one seed without a list": (f"{AGE}.training.seeds", 7, [f"`{AGE}.training.seeds` is 7", "write `[7]`"]),
    "seed twice": (f"{AGE}.training.seeds", [1, 2, 1], [f"`{AGE}.training.seeds` has 1 more than once"]),
    "no seeds": (f"{AGE}.training.seeds", [], [f"`{AGE}.training.seeds` has an empty list", "at least one"]),
    "study with a slash": ("study", "my/study", ["`study` is the text `my/study`", "a folder name"]),
    "classes that YAML reads as truth values": (
        f"{DEMENTIA}.classes",
        [False, "AD"],
        ["item 1 of", 'write "no" (or "off" or "false"'],
    ),
    "classes that YAML reads as dates": (
        f"{DEMENTIA}.classes",
        [datetime.date(2001, 1, 1), "b"],
        ['put it in quotes, "2001-01-01"'],
    ),
    "study that is a number": ("study", 2026, ["`study` is 2026", 'put it in quotes, "2026"']),
    "cohort with a space": (
        "cohorts.IXI T1",
        {"source": "ixi"},
        ["`cohorts` has the name `IXI T1`", "`ixi_t1` would do"],
    ),
    "cohort named as a results folder": (
        "cohorts.report",
        {"source": "ixi"},
        ["`cohorts.report`", "call the cohort something else"],
    ),
    "source unknown": (
        "cohorts.ixi.source",
        "ixi2",
        ["`cohorts.ixi.source` is the text `ixi2`", "did you mean `ixi`?"],
    ),
    "agreement not accepted": (
        *("cohorts.oasis1.accept_data_use_agreement", False),
        [
            "`cohorts.oasis1.accept_data_use_agreement` is false",
            "https://sites.wustl.edu/oasisbrains/",
            "_agreement: true`",
        ],
    ),
    "agreement not mentioned": (
        *("cohorts.oasis1.accept_data_use_agreement", LEFT_OUT),
        ["`cohorts.oasis1.accept_data_use_agreement` is missing", "https://sites.wustl.edu/oasisbrains/"],
    ),
    "key of another source": (
        "cohorts.ixi.discs",
        [1],
        ["`cohorts.ixi.discs` is for cohorts with `source: oasis1`", "leave it out"],
    ),
    "disc 13": ("cohorts.oasis1.discs", [1, 13], ["item 2 of `cohorts.oasis1.discs` is 13", "from 1 to 12"]),
    "address of another kind": (
        "cohorts.ixi.base_url",
        "ftp://host/ixi",
        ["`cohorts.ixi.base_url`", "http, https or file"],
    ),
    "table unknown": ("cohorts.oasis1.table", "a/b.csv", ["`cohorts.oasis1.table`", "oasis_cross-sectional.csv"]),
    "shape of two": (
        "preprocessing.shape",
        [56, 64],
        ["`preprocessing.shape` has 2 values", "a list of 3 whole numbers"],
    ),
    "shape with a zero": (
        "preprocessing.shape",
        [56, 0, 56],
        ["item 2 of `preprocessing.shape` is 0", "from 1 to 512"],
    ),
    "shape that cuts the brain": (
        "preprocessing.spacing_mm",
        1,
        ["`preprocessing.shape`", "56 x 64 x 56 mm", "[146, 180, 156]"],
    ),
    "spacing too fine": (
        "preprocessing.spacing_mm",
        0.2,
        ["`preprocessing.spacing_mm` is 0.2", "a number from 0.5 to 6"],
    ),
    "spacing too coarse": (
        "preprocessing.spacing_mm",
        7,
        ["`preprocessing.spacing_mm` is 7", "a number from 0.5 to 6"],
    ),
    "shape that a U-Net can't halve": (
        *("preprocessing.shape", [57, 64, 56]),
        ["`preprocessing.shape` is [57, 64, 56]", f"`{TISSUE}.network`", "multiples of 4, such as [60, 64, 56]"],
    ),
    "split of everything": (
        *("split.validation", 0.65),
        ["`split.validation` (0.65) and `split.held_out` (0.35) add up to 1", "less than 1"],
    ),
    "held-out part of nothing": ("split.held_out", 0, ["`split.held_out` is 0", "above 0 and below 1"]),
    "volumes the wrong way round": (
        "quality.min_brain_ml",
        3000,
        ["`quality.min_brain_ml` (3000)", "`quality.max_brain_ml`"],
    ),
    "experiment on an unknown cohort": (
        *(f"{AGE}.cohorts", ["ixii"]),
        [f"`{AGE}.cohorts` names `ixii`", "configured cohorts are ixi, oasis1", "did you mean `ixi`?"],
    ),
    "experiment on no cohort": (f"{AGE}.cohorts", [], [f"`{AGE}.cohorts` has an empty list", "at least one"]),
    "unknown external cohort": (
        f"{AGE}.external",
        ["adni"],
        [f"`{AGE}.external` names `adni`", "configured cohorts are"],
    ),
    "trained on and external": (f"{AGE}.external", ["ixi"], [f"`{AGE}.external` names `ixi`", f"`{AGE}.cohorts`"]),
    "target that the cohort hasn't got": (
        *(f"{DEMENTIA}.cohorts", ["ixi"]),
        [f"`{DEMENTIA}.target` is `dementia`", "isn't a variable of `ixi`", "those for classification are sex"],
    ),
    "target that the external cohort hasn't got": (
        *(f"{TISSUE}.external", ["ixi"]),
        [f"`{TISSUE}.target` is `dseg`", "isn't a variable of `ixi`", "there is none for segmentation"],
    ),
    "target misspelt": (f"{AGE}.target", "agee", [f"`{AGE}.target` is `agee`", "did you mean `age`?"]),
    "regression on sex": (
        f"{AGE}.target",
        "sex",
        [f"`{AGE}.target` is `sex`", "two classes", "`task: classification`"],
    ),
    "classification of age": (f"{DEMENTIA}.target", "age", ["`age`, which is a number", "`task: regression`"]),
    "segmentation of age": (
        f"{TISSUE}.target",
        "age",
        [f"`{TISSUE}.target` is `age`", "(here: dseg)"],
    ),
    "classification of categories": (f"{DEMENTIA}.target", "site", ["`site`, which is categories", "dementia, sex"]),
    "filter on an unknown variable": (
        *(f"{AGE}.filter", "agee >= 18"),
        [f"`{AGE}.filter` names `agee`", "no cohort of the experiment has", "did you mean `age`?"],
    ),
    "filter without quotes": (f"{AGE}.filter", "site == HH", [f"`{AGE}.filter` names `HH`", "texts stand in quotes"]),
    "filter with one equals sign": (f"{AGE}.filter", "age = 18", [f"`{AGE}.filter`", "can't be read", "=="]),
    "filter that calls": (f"{AGE}.filter", "exit(1) == 1", [f"`{AGE}.filter`", "`exit(1)`, which isn't allowed"]),
    "network unknown": (f"{AGE}.network.name", "sfnc", [f"`{AGE}.network.name`", "did you mean `sfcn`?"]),
    "network of another task": (
        f"{AGE}.network.name",
        "unet",
        [f"`{AGE}.network.name` is `unet`", "sfcn, densenet121, resnet18"],
    ),
    "channels for a network with its own": (
        f"{AGE}.network.name",
        "resnet18",
        [f"`{AGE}.network.channels`", "leave the key out"],
    ),
    "too few channels": (
        f"{TISSUE}.network.channels",
        [8],
        [f"`{TISSUE}.network.channels` has 1 value;", "expects 2 to 10"],
    ),
    "synthetic outside the demo": (
        "demo_data",
        False,
        ["`synthetic`", "write `demo_data: true` or leave `synthetic` out"],
    ),
    "synthetic archive of no cohort": (
        *("cohorts.ixi.base_url", "elsewhere"),
        ["`synthetic.ixi` is taken up by no cohort", "`base_url: resources/synthetic/ixi`"],
    ),
    "cohort of no synthetic archive": (
        "synthetic.ixi",
        LEFT_OUT,
        ["`cohorts.ixi.base_url`", "`synthetic.ixi` is given; add that"],
    ),
    "discs beyond the synthetic ones": ("cohorts.oasis1.discs", [1, 3], ["`cohorts.oasis1.discs` has 3", "makes 2"]),
    "too small a synthetic cohort": (
        "synthetic.ixi.participants",
        2,
        ["`synthetic.ixi.participants` is 2", "from 8 to 400"],
    ),
    "device that sounds like another": ("device", "gpu", ["`device` is the text `gpu`", "`auto`, `cpu`, `cuda`"]),
}


def test_the_demo_is_valid_and_keeps_what_it_says(demo):
    checked = check_configuration(demo, source=str(DEMO))
    assert checked["experiments"]["brain_age"]["network"]["channels"] == [4, 8, 16, 32, 32, 32]
    assert {name: checked[name] for name in ("study", "device", "evaluation")} == {
        name: demo[name] for name in ("study", "device", "evaluation")
    }


@pytest.mark.parametrize(("key", "value", "told"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_configuration_is_refused_with_the_key_and_the_mend(demo, key, value, told):
    message = refusal(changed(demo, key, value))
    assert message.startswith(f"{SOURCE}: "), message
    assert "\n" not in message and message[-1] in ".?", message
    for part in told:
        assert part in message, message


def test_the_old_name_of_the_synthetic_cohorts_works_with_a_note(demo, capsys):
    expected = check_configuration(demo, source="study.yaml")
    old = {"phantom" if key == "synthetic" else key: value for key, value in demo.items()}
    old["cohorts"] = {
        name: cohort | {"base_url": cohort["base_url"].replace("/synthetic/", "/phantom/")}
        for name, cohort in demo["cohorts"].items()
    }
    assert capsys.readouterr().err == ""
    assert check_configuration(old, source="study.yaml") == expected
    assert "`phantom` is now called `synthetic`" in capsys.readouterr().err


def test_several_faults_are_told_at_once_a_line_each(demo):
    lines = refusal(changed(changed(demo, "split.seed", -1), f"{AGE}.training.epoch", 4)).splitlines()
    assert lines[0] == f"{SOURCE} has 2 faults:"
    assert sorted(lines[1:])[0].startswith("- `split.seed` is -1") and "unknown key" in sorted(lines[1:])[1]


def test_a_misspelt_required_key_is_one_fault_and_not_two(demo):
    config = changed(changed(demo, f"{AGE}.target", LEFT_OUT), f"{AGE}.taget", "age")
    assert "unknown key" in refusal(config) and "missing" not in refusal(config)


def test_a_key_that_yaml_reads_as_a_number_is_told(demo):
    demo["cohorts"][1] = {"source": "ixi"}
    assert "`cohorts` has the key 1" in refusal(demo) and 'put it in quotes, "1"' in refusal(demo)


def test_defaults_are_filled_in_for_the_smallest_study():
    config = {
        "study": "small",
        "cohorts": {"ixi": {"source": "ixi"}},
        "experiments": {
            "age": {"task": "regression", "target": "age", "cohorts": ["ixi"], "network": {"name": "sfcn"}}
        },
    }
    given = copy.deepcopy(config)
    checked = check_configuration(config, source=SOURCE)
    assert config == given, "the caller's configuration must stay as it was"
    assert checked["device"] == "auto" and checked["demo_data"] is False
    assert checked["preprocessing"]["shape"] == [160, 192, 160] and checked["preprocessing"]["spacing_mm"] == 1.0
    assert checked["experiments"]["age"]["external"] == []
    assert checked["experiments"]["age"]["training"]["patience"] == 0
    assert checked["cohorts"]["ixi"] == {"source": "ixi", "base_url": "", "modalities": ["T1w"]}
    assert check_configuration(checked, source=SOURCE) == checked
    checked["experiments"]["age"]["training"]["seeds"].append(2)
    assert check_configuration(config, source=SOURCE)["experiments"]["age"]["training"]["seeds"] == [1]


def test_three_and_three_point_zero_are_the_same_study(demo):
    """Otherwise a study written `3` would rerun everything that was computed with `3.0`."""
    one, other = (
        check_configuration(changed(demo, "preprocessing.spacing_mm", value), source=SOURCE) for value in (3, 3.0)
    )
    assert json.dumps(one) == json.dumps(other)


def test_a_filter_may_use_a_variable_that_only_one_of_the_cohorts_has(demo):
    check_configuration(changed(demo, f"{AGE}.filter", "age >= 18 and not cdr > 0"), source=SOURCE)


def test_known_columns_take_the_place_of_the_sources_table(demo):
    columns = {"oasis1": {"participant_id", "age", "sex", "dseg_path"}}
    message = refusal(demo, variables=columns)
    assert "`experiments.dementia.target` is `dementia`" in message and "tissue" not in message


def test_filter_columns_are_the_names_in_it():
    assert filter_columns("age >= 18 and (site in ['HH', \"Guys\"] or not cdr > -1)") == {"age", "site", "cdr"}
    for refused in (
        "age.max() > 1",
        "__import__('os') == 1",
        "age > 1 & sex == 'F'",
        "age",
        "[x for x in age]",
        "age is None",
    ):
        with pytest.raises(InputError, match="a filter compares variables"):
            filter_columns(refused)


def test_files_are_merged_in_their_order_like_snakemakes(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("study: a\nsplit: {seed: 1, validation: 0.2}\ndiscs: [1, 2, 3]\n")
    second.write_text("study: b\nsplit: {seed: 2}\ndiscs: [4]\n")
    assert load_configuration([first, second]) == {"study": "b", "split": {"seed": 2, "validation": 0.2}, "discs": [4]}
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config

    snakemakes = load_configfile(str(first))
    update_config(snakemakes, load_configfile(str(second)))
    assert load_configuration([first, second]) == snakemakes


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("- study\n- cohorts\n", ["line 1", "a list", "keys with values"]),
        ("", ["line 1", "empty"]),
        ("study: a\nsplit: {seed: 1\ncohorts:\n", ["line 3", "isn't YAML"]),
        ("study: a\nsplit:\n\tseed: 1\n", ["line 3", "spaces, not tabs"]),
        ("study: a\nsplit:\n  seed: 1\n  seed: 2\n", ["line 4", "`seed`", "second time, first in line 3"]),
        ("study: \xff", ["can't be read", "UTF-8"]),
    ],
    ids=["list", "empty", "open bracket", "tab", "key twice", "not UTF-8"],
)
def test_a_file_that_is_not_keys_with_values_is_told_with_its_line(tmp_path, content, told):
    path = tmp_path / "study.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        load_configuration([path])
    for part in (str(path), *told):
        assert part in str(caught.value), str(caught.value)


def test_an_absent_file_is_told_with_its_path(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'none.yaml'}: there is no such file")):
        load_configuration([tmp_path / "none.yaml"])


def test_a_wrong_configuration_is_refused_without_heavy_imports(tmp_path):
    wrong = tmp_path / "study.yaml"
    wrong.write_text("study: a\ncohortz: {}\n")
    code = (
        "import sys; from pathlib import Path; from neurocohort.study import configuration as c\n"
        "try: c.check_configuration(c.load_configuration([Path(sys.argv[1])]), source='s')\n"
        "except c.InputError as error: print(error)\n"
        "heavy = {'pandas', 'numpy', 'torch', 'snakemake', 'requests'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    run = subprocess.run([sys.executable, "-c", code, wrong], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0 and "did you mean `cohorts`?" in run.stdout, run.stderr


def groups(node, key=""):
    """Every group of keys in the schema: its dotted key and its subschema, with <name> for names that the user gives."""
    node = resolve(node)
    if node.get("type") == "object":
        yield key, node
        for name, below in node.get("properties", {}).items():
            yield from groups(below, f"{key}.{name}" if key else name)
        for below in node.get("patternProperties", {}).values():
            yield from groups(below, f"{key}.<name>")


def test_the_schema_is_a_schema_that_lets_no_unknown_key_pass(schema):
    Draft202012Validator.check_schema(schema)
    for key, group in groups(schema):
        assert group.get("additionalProperties") is False, key
        for name, below in group.get("properties", {}).items():
            assert resolve(below).get("description", "").endswith("."), f"{key}.{name}"


def test_every_default_is_valid(schema):
    for key, group in groups(schema):
        for name, below in group.get("properties", {}).items():
            if "default" in below and below["default"] != {}:
                root = {"$defs": schema["$defs"], **below}
                assert not list(Draft202012Validator(root).iter_errors(below["default"])), f"{key}.{name}"


def test_networks_and_sources_of_the_schema_are_those_that_the_checks_know(schema):
    network = schema["$defs"]["Network"]["properties"]
    assert set(network["name"]["enum"]) == set(ARCHITECTURES)
    assert set(schema["$defs"]["Cohort"]["properties"]["source"]["enum"]) == set(KEYS_OF_SOURCE)


def test_variables_are_those_that_ingest_writes():
    from neurocohort.sources import ixi_table as ixi
    from neurocohort.sources import oasis1_table as oasis1

    identity = {"participant_id", "session_id", "scan_id"}
    assert set(VARIABLES_OF_SOURCE["ixi"]) == set(ixi.VARIABLES) | identity
    assert set(VARIABLES_OF_SOURCE["oasis1"]) == set(oasis1.VARIABLES) | identity | {"dseg"}


def test_the_tables_of_the_readme_are_those_of_the_schema():
    readme = (ROOT / "config/README.md").read_text(encoding="utf-8")
    assert readme == with_current_tables(readme), "run: python config/make_tables.py"
    keys = [key for key, _ in key_rows(json_schema())]
    assert sorted(keys) == sorted(
        found["key"] for found in ROW.finditer(readme) if "." in found["key"] or found["key"] in keys
    )


@pytest.fixture
def own_cohorts(tmp_path):
    """A BIDS folder and a table with the variables that the examples use."""
    for person in ("01", "02", "03"):
        (tmp_path / "bids" / f"sub-{person}" / "anat").mkdir(parents=True)
        (tmp_path / "bids" / f"sub-{person}" / "anat" / f"sub-{person}_T1w.nii.gz").touch()
    rows = "sub-01\t60\tCN\nsub-02\t70\tAD\nsub-03\t80\tMCI\n"
    (tmp_path / "bids" / "participants.tsv").write_text("participant_id\tage\tdiagnosis\n" + rows)
    (tmp_path / "a.nii").touch()
    (tmp_path / "scans.csv").write_text("participant_id,path,age\nA,a.nii,60.5\nB,b.nii,61\nC,c.nii,62\n")
    return tmp_path


def study(cohort, **experiment):
    experiment = {"task": "regression", "target": "age", "cohorts": ["own"], "network": {"name": "sfcn"}} | experiment
    return {"study": "own", "cohorts": {"own": cohort}, "experiments": {"e": experiment}}


def test_the_readme_has_a_whole_example_of_each_source_and_each_is_valid(own_cohorts):
    readme = (ROOT / "config/README.md").read_text(encoding="utf-8")
    sources = set()
    for block in re.findall(r"```yaml\n(study:.*?)```", readme, flags=re.S):
        block = block.replace("/data/clinic/bids", str(own_cohorts / "bids"))
        config = yaml.safe_load(block.replace("/archive/scans.csv", str(own_cohorts / "scans.csv")))
        check_configuration(config, source=SOURCE)
        sources |= {cohort["source"] for cohort in config["cohorts"].values()}
    assert sources == set(KEYS_OF_SOURCE)


def test_variables_of_a_folder_or_table_of_ones_own_are_known_before_anything_runs(own_cohorts):
    bids = {"source": "bids", "path": str(own_cohorts / "bids")}
    table = {"source": "table", "path": str(own_cohorts / "scans.csv")}
    assert "`education`, which isn't a variable" in refusal(study(bids, target="education"))
    assert "name two of its values under `classes`" in refusal(study(bids, task="classification", target="diagnosis"))
    check_configuration(study(bids, task="classification", target="diagnosis", classes=["CN", "AD"]), source=SOURCE)
    assert "names `height`" in refusal(study(table, filter="height > 1"))


def test_a_users_folder_is_not_read_where_its_study_was_checked_before(own_cohorts, monkeypatch):
    def read(*_):
        raise AssertionError("the folder is read")

    monkeypatch.setattr("neurocohort.study.configuration.survey_of_cohort", read)
    bids = {"source": "bids", "path": str(own_cohorts / "bids")}
    checked = check_configuration(study(bids), source=SOURCE, read_cohorts=False)
    assert checked["cohorts"]["own"]["pattern"], "the defaults are filled in"


@pytest.mark.parametrize(
    ("cohort", "told"),
    [
        ({"source": "bids"}, "`cohorts.own.path` is missing; expected the folder that holds the sub-* folders"),
        ({"source": "bids", "path": "nowhere"}, "which is not there"),
        ({"source": "table", "path": "."}, "which is a folder"),
        ({"source": "ixi", "path": "."}, "is for cohorts with `source: bids` or `source: table` alone"),
        ({"source": "ixi", "modalities": ["T2w", "T1w"]}, "begins with T2w; expected T1w first"),
        ({"source": "ixi", "modalities": ["T1w", "FLAIR"]}, "has T1w, T2w, PDw"),
        ({"source": "ixi", "split_file": "nowhere.tsv"}, "isn't a file"),
    ],
)
def test_a_cohort_whose_keys_do_not_go_with_its_source_is_refused(cohort, told):
    assert told in refusal(study(cohort))


def test_channels_must_be_there_in_each_cohort():
    assert "`cohorts.own.modalities` has T1w" in refusal(study({"source": "ixi"}, modalities=["T1w", "T2w"]))
    check_configuration(study({"source": "ixi", "modalities": ["T1w", "T2w"]}, modalities=["T2w"]), source=SOURCE)


def test_classes_are_for_classification():
    assert "`experiments.e.classes` is for classification" in refusal(study({"source": "ixi"}, classes=["F", "M"]))


def experiment_with(demo, **keys):
    """The demo's brain-age experiment with dotted keys, ``__`` for the dot, set."""
    for key, value in keys.items():
        demo = changed(demo, f"{AGE}.{key.replace('__', '.')}", value)
    return demo


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"training__cross_validation": True}, None),
        ({"training__processes": 9}, ["training.processes` is 9", "a batch has 5 scans"]),
        ({"training__precision": "float16"}, ["float16", "CPU", "bfloat16"]),
        ({"training__patch": [32, 32, 32]}, ["training.patch` is for segmentation", "regression"]),
        (
            {"training__patience": 5, "training__keep": "last"},
            ["training.patience` is 5", "keep` is last", "patience: 0"],
        ),
        ({"training__patience": 5, "training__keep": "averaged"}, ["training.keep` is averaged"]),
        ({"training__patience": 5, "training__keep": "best"}, None),
        ({"training__keep": "first"}, ["`best`, `last`, `averaged`"]),
        ({"training__retrain": 6}, ["training.retrain` is 6", "from 0 to 5"]),
        ({"control": "shuffled_target"}, None),
        ({"transfer": {"weights": "dementia"}}, None),
        ({"transfer": {"weights": "dementi"}}, ["dementi", "did you mean `dementia`"]),
        ({"transfer": {"weights": "brain_age"}}, ["starts from this experiment itself"]),
        ({"transfer": {"weights": "old.safetensors"}}, ["old.safetensors", "isn't there"]),
        ({"transfer": {"weights": "old.pt"}}, ["old.pt", "pickle"]),
        ({"sweep": {"values": {"training.learning_rate": [0.1, 0.01]}}}, None),
        ({"sweep": {"values": {"training.learning_rate": {"low": 0.1, "high": 0.2}}}}, ["needs", "sweep.draws"]),
        ({"sweep": {"draws": 2, "values": {"training.learning_rate": {"low": 0.2, "high": 0.1}}}}, ["low below high"]),
        ({"sweep": {"draws": 2, "values": {"network.dropout": {"low": 0, "high": 0.5, "log": True}}}}, ["above 0"]),
        ({"sweep": {"values": {"network.name": ["sfcn", "unet"]}}}, ["draw-02", "`unet`, which can't do regression"]),
        (
            {"sweep": {"values": {"training.learning_rate": [0.1, 7]}}},
            ["draw-02", "training.learning_rate", "at most 1"],
        ),
        ({"sweep": {"values": {"training.seeds": [1, 2]}}}, ["training.seeds"]),
        ({"network": {"name": "resnet18", "dropout": 0.3}}, ["network.dropout", "resnet18", "sfcn, densenet121"]),
        ({"network": {"name": "densenet121", "norm": "group"}}, ["network.norm", "densenet121"]),
    ],
)
def test_trainings_are_checked_with_what_they_depend_on(demo, keys, told):
    config = experiment_with(demo, **keys)
    if told is None:
        check_configuration(config, source=SOURCE)
        return
    message = refusal(config)
    assert all(part in message for part in told), message


def transferring(demo, **experiments):
    """The demo with experiments like brain_age, each given by its cohorts, whether it has folds, its source, and other keys."""
    base = demo["experiments"]["brain_age"]
    made = {}
    for name, (cohorts, folded, source, *more) in experiments.items():
        made[name] = copy.deepcopy(base) | {"cohorts": cohorts, "filter": ""} | (more[0] if more else {})
        made[name]["training"] |= {"cross_validation": folded}
        if source:
            made[name]["transfer"] = {"weights": source}
    return demo | {"experiments": made}


IXI, OASIS = ["ixi"], ["oasis1"]
ALLOWED_TRANSFERS = {
    "same folds": {"a": (OASIS, True, ""), "b": (OASIS, True, "a")},
    "no folds": {"a": (OASIS, False, ""), "b": (OASIS, False, "a")},
    "other cohorts": {"a": (IXI, False, ""), "b": (OASIS, True, "a")},
    "folds all along": {"a": (OASIS, True, ""), "b": (IXI, True, "a"), "c": (OASIS, True, "b")},
    "site left out elsewhere": {"a": (IXI, False, ""), "b": (OASIS, False, "a", {"leave_one_site_out": ["WashU"]})},
}
LEAKING_TRANSFERS = {
    "source without folds": (
        {"a": (OASIS, False, ""), "b": (OASIS, True, "a")},
        [
            "experiments.b.transfer.weights` is a",
            "train on oasis1",
            "is false in a and true in `experiments.b`",
            "both.",
        ],
    ),
    "folds in the source alone": (
        {"a": (["ixi", "oasis1"], True, ""), "b": (OASIS, False, "a")},
        ["is true in a and false in `experiments.b`"],
    ),
    "source without folds further back": (
        {"a": (OASIS, False, ""), "b": (IXI, True, "a"), "c": (OASIS, True, "b")},
        ["experiments.c.transfer.weights` is b, which goes back to a", "is false in a and true in `experiments.c`"],
    ),
    "folds lost on the way": (
        {"a": (OASIS, True, ""), "b": (IXI, False, "a"), "c": (OASIS, True, "b")},
        ["which goes back to a", "b between them has none", "`training.cross_validation: true` there too"],
    ),
    "source trained on the external cohort": (
        {"a": (IXI, False, ""), "b": (OASIS, False, "a", {"external": IXI})},
        ["which is trained on ixi", "`experiments.b.external` has ixi", "start from another experiment"],
    ),
    "external cohort trained on further back": (
        {"a": (IXI, False, ""), "b": (OASIS, False, "a"), "c": (OASIS, False, "b", {"external": IXI})},
        ["is b, which goes back to a, which is trained on ixi"],
    ),
    "site left out that the source has seen": (
        {"a": (IXI, False, ""), "b": (IXI, False, "a", {"leave_one_site_out": ["Guys"]})},
        ["trained on ixi with all of its sites", "leave_one_site_out` has Guys", "Leave one of the two out"],
    ),
}


@pytest.mark.parametrize("case", ALLOWED_TRANSFERS)
def test_transfer_between_matching_folds_or_other_cohorts_is_accepted(demo, case):
    check_configuration(transferring(demo, **ALLOWED_TRANSFERS[case]), source=SOURCE)


@pytest.mark.parametrize("case", LEAKING_TRANSFERS)
def test_transfer_from_a_network_that_saw_the_tested_scans_is_refused(demo, case):
    experiments, told = LEAKING_TRANSFERS[case]
    message = refusal(transferring(demo, **experiments))
    assert all(part in message for part in told), message
    assert "faults" not in message, "one fault, one sentence"


def test_each_fold_starts_from_the_same_fold_of_the_source(demo):
    source = {"training": {"seeds": [1, 2], "cross_validation": True}}
    assert starting_members(source, 3, "fold-3_seed-2") == ["fold-3_seed-2", "fold-3_seed-1"]
    assert starting_members(source, 3, "sweep/draw-01/fold-2_seed-7") == ["fold-2_seed-1", "fold-2_seed-2"]
    assert starting_members(source, 3, "seed-2") == ["fold-1_seed-2", "fold-1_seed-1"], "a control has no folds"
    plain = {"training": {"seeds": [1, 11], "cross_validation": False}}
    assert starting_members(plain, 3, "fold-2_seed-11") == ["seed-11", "seed-1"]
    assert starting_members(plain, 3, "seed-5") == ["seed-1", "seed-11"]


def test_networks_of_controls_alone_are_not_judged(demo):
    config = check_configuration(
        experiment_with(demo, control="shuffled_target", training__retrain=2, training__keep="last"), source=SOURCE
    )
    settings = {
        name: training_settings(experiment, "seed-1")
        for name, experiment in all_experiments(config["experiments"]).items()
    }
    assert [name for name, own in settings.items() if not own.judged] == [
        f"brain_age_shuffled-target-{number}" for number in (1, 2, 3)
    ]
    assert (settings["brain_age"].retrain, settings["brain_age"].keep) == (2, "last")


def test_controls_are_experiments_beside_the_one_that_asks_for_it(demo):
    config = check_configuration(experiment_with(demo, control="shuffled_target"), source=SOURCE)
    found = all_experiments(config["experiments"])
    controls = [f"brain_age_shuffled-target-{number}" for number in (1, 2, 3)]
    assert list(found) == ["brain_age", *controls, "dementia", "tissue"]
    assert [experiment["permutation"] for experiment in found.values()] == [0, 1, 2, 3, 0, 0]
    taken = experiment_with(demo, control="shuffled_target")
    taken["experiments"]["brain_age_shuffled-target-2"] = taken["experiments"]["dementia"]
    assert "`brain_age_shuffled-target-2`, which there is already" in refusal(taken)


def test_draws_follow_from_the_seed_and_lie_in_their_ranges(demo):
    sweep = {
        "draws": 50,
        "seed": 3,
        "values": {"training.learning_rate": {"low": 0.001, "high": 0.1, "log": True}, "network.dropout": [0.0, 0.5]},
    }
    draws = draws_of(sweep)
    assert draws == draws_of(sweep) != draws_of({**sweep, "seed": 4}) and len(draws) == 50
    rates = [values["training.learning_rate"] for values in draws.values()]
    assert all(0.001 <= rate <= 0.1 for rate in rates) and 15 < sum(rate < 0.01 for rate in rates) < 35
    assert {values["network.dropout"] for values in draws.values()} == {0.0, 0.5}
    grid = draws_of({"draws": 0, "seed": 1, "values": {"training.epochs": [1, 2], "network.dropout": [0.0, 0.5]}})
    assert [tuple(values.values()) for values in grid.values()] == [(1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5)]
    assert list(grid) == ["sweep/draw-01", "sweep/draw-02", "sweep/draw-03", "sweep/draw-04"]


def test_settings_of_a_run_are_the_experiments_with_its_draw_fold_and_seed(demo):
    config = check_configuration(
        experiment_with(
            demo,
            training__cross_validation=True,
            training__seeds=[4, 5],
            sweep={"values": {"training.learning_rate": [0.1, 0.02]}},
        ),
        source=SOURCE,
    )
    experiment = config["experiments"]["brain_age"]
    assert members_of(experiment, 2) == ["fold-1_seed-4", "fold-1_seed-5", "fold-2_seed-4", "fold-2_seed-5"]
    settings = training_settings(experiment, "sweep/draw-02/fold-2_seed-5")
    assert (settings.learning_rate, settings.fold, settings.seed) == (0.02, 2, 5)
    assert training_settings(experiment, "fold-1_seed-4").learning_rate == 0.01
    assert read_settings(settings.as_json()) == read_settings(settings.as_dict()) == settings
