"""A wrong configuration is refused before anything runs, in a sentence that names the key and the fix."""

import copy
import datetime
import json
import re
import subprocess
import sys

import pytest
from configurations import (
    AGE,
    DEMENTIA,
    DEMO,
    LEFT_OUT,
    SOURCE,
    TISSUE,
    changed,
    refusal,
)
from neurocohort.errors import InputError
from neurocohort.study.configuration import check_configuration, load_configuration

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
    "key one level too high": (
        f"{AGE}.epochs",
        3,
        [f"unknown key `{AGE}.epochs`", "belongs under", f"`{AGE}.training`"],
    ),
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
        ["`cohorts.ixi.discs` is only for cohorts with `source: oasis1`", "leave it out"],
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
    "filter without quotes": (f"{AGE}.filter", "site == HH", [f"`{AGE}.filter` names `HH`", "texts must be in quotes"]),
    "filter with one equals sign": (f"{AGE}.filter", "age = 18", [f"`{AGE}.filter`", "can't be read", "=="]),
    "filter that calls": (f"{AGE}.filter", "exit(1) == 1", [f"`{AGE}.filter`", "`exit(1)`, which isn't allowed"]),
    "network unknown": (f"{AGE}.network.name", "sfnc", [f"`{AGE}.network.name`", "did you mean `sfcn`?"]),
    "network of another task": (
        f"{AGE}.network.name",
        "unet",
        [f"`{AGE}.network.name` is `unet`", "densenet121, densenet169, densenet201, resnet10, resnet18"],
    ),
    "too many channels": (
        f"{AGE}.network.name",
        "resnet18",
        [f"`{AGE}.network.channels` has 6 values; resnet18 expects 1"],
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
        ["`synthetic.ixi` is used by no cohort", "`base_url: resources/synthetic/ixi`"],
    ),
    "cohort of no synthetic archive": (
        "synthetic.ixi",
        LEFT_OUT,
        ["`cohorts.ixi.base_url`", "`synthetic.ixi` is configured; add that key"],
    ),
    "discs beyond the synthetic ones": ("cohorts.oasis1.discs", [1, 3], ["`cohorts.oasis1.discs` has 3", "makes 2"]),
    "too small a synthetic cohort": (
        "synthetic.ixi.participants",
        2,
        ["`synthetic.ixi.participants` is 2", "from 8 to 400"],
    ),
    "device that sounds like another": ("device", "gpu", ["`device` is the text `gpu`", "`auto`, `cpu`, `cuda`"]),
}


def test_the_demo_is_valid_and_keeps_what_it_says(demo_study):
    checked = check_configuration(demo_study, source=str(DEMO))
    assert checked["experiments"]["brain_age"]["network"]["channels"] == [4, 8, 16, 32, 32, 32]
    assert {name: checked[name] for name in ("study", "device")} == {
        name: demo_study[name] for name in ("study", "device")
    }
    assert checked["evaluation"] == demo_study["evaluation"] | {"harmonisation": "none"}


@pytest.mark.parametrize(("key", "value", "parts"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_configuration_is_refused_with_the_key_and_the_fix(demo_study, key, value, parts):
    message = refusal(changed(demo_study, key, value))
    assert message.startswith(f"{SOURCE}: "), message
    assert "\n" not in message and message[-1] in ".?", message
    for part in parts:
        assert part in message, message


def test_the_old_name_of_the_synthetic_cohorts_works_with_a_note(demo_study, capsys):
    expected = check_configuration(demo_study, source="study.yaml")
    old = {"phantom" if key == "synthetic" else key: value for key, value in demo_study.items()}
    old["cohorts"] = {
        name: cohort | {"base_url": cohort["base_url"].replace("/synthetic/", "/phantom/")}
        for name, cohort in demo_study["cohorts"].items()
    }
    assert capsys.readouterr().err == ""
    assert check_configuration(old, source="study.yaml") == expected
    assert "`phantom` is now called `synthetic`" in capsys.readouterr().err


def test_several_faults_are_told_at_once_a_line_each(demo_study):
    lines = refusal(changed(changed(demo_study, "split.seed", -1), f"{AGE}.training.epoch", 4)).splitlines()
    assert lines[0] == f"{SOURCE} has 2 faults:"
    assert sorted(lines[1:])[0].startswith("- `split.seed` is -1") and "unknown key" in sorted(lines[1:])[1]


def test_a_misspelt_required_key_is_one_fault_and_not_two(demo_study):
    config = changed(changed(demo_study, f"{AGE}.target", LEFT_OUT), f"{AGE}.taget", "age")
    assert "unknown key" in refusal(config) and "missing" not in refusal(config)


def test_a_key_that_yaml_reads_as_a_number_is_told(demo_study):
    demo_study["cohorts"][1] = {"source": "ixi"}
    assert "`cohorts` has the key 1" in refusal(demo_study) and 'put it in quotes, "1"' in refusal(demo_study)


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


def test_three_and_three_point_zero_are_the_same_study(demo_study):
    """Otherwise a study written `3` would rerun everything that was computed with `3.0`."""
    one, other = (
        check_configuration(changed(demo_study, "preprocessing.spacing_mm", value), source=SOURCE) for value in (3, 3.0)
    )
    assert json.dumps(one) == json.dumps(other)


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
    ("content", "parts"),
    [
        ("- study\n- cohorts\n", ["line 1", "a list", "keys with values"]),
        ("", ["line 1", "empty"]),
        ("study: a\nsplit: {seed: 1\ncohorts:\n", ["line 3", "isn't valid YAML"]),
        ("study: a\nsplit:\n\tseed: 1\n", ["line 3", "spaces, not tabs"]),
        ("study: a\nsplit:\n  seed: 1\n  seed: 2\n", ["line 4", "`seed`", "second time, first in line 3"]),
        ("study: \xff", ["can't be read", "UTF-8"]),
    ],
    ids=["list", "empty", "open bracket", "tab", "key twice", "not UTF-8"],
)
def test_a_file_that_is_not_keys_with_values_is_told_with_its_line(tmp_path, content, parts):
    path = tmp_path / "study.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        load_configuration([path])
    for part in (str(path), *parts):
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
