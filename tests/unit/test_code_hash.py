"""A rule reruns for the code behind it that can change its result, and for no other."""

import ast
import json
import re
import shutil
import subprocess
import symtable
import sys
from pathlib import Path

import neurocohort.codehash as codehash
import pytest
from neurocohort import codemeaning

RULES = Path(codehash.ROOT).parent / "rules"
STAGES = sorted(
    {name for file in RULES.glob("*.smk") for name in re.findall(r'code_hash\("([\w-]+)"\)', file.read_text())}
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package whose files may be changed, with the cache that the package has."""
    root = tmp_path / "neurocohort"
    codehash.code_hash("train")
    shutil.copytree(codehash.ROOT, root, ignore=shutil.ignore_patterns("*.pyc"))
    monkeypatch.setattr(codehash, "ROOT", root)
    monkeypatch.setattr(codehash, "COMMANDS", root / "cli")

    def forget():
        for cached in vars(codehash).values():
            if hasattr(cached, "cache_clear"):
                cached.cache_clear()

    def hashes():
        forget()
        return {name: codehash.code_hash(name) for name in STAGES}

    yield root, hashes
    forget()


def appended(package, file, text="\nADDED = 1\n"):
    """The stages whose hash changes when ``text`` is added to a file."""
    source = (package[0] / file).read_text()
    return replaced(package, file, source, source + text)


def replaced(package, file, old, new):
    """The stages whose hash changes when the text ``old`` of a file becomes ``new``."""
    root, hashes = package
    before = hashes()
    source = (root / file).read_text()
    assert old in source, f"{file} has no {old!r}: the test tests nothing"
    (root / file).write_text(source.replace(old, new))
    after = hashes()
    return {name for name in before if before[name] != after[name]}


def test_registration_reruns_preprocessing_and_neither_download_nor_training(package):
    found = appended(package, "imaging/registration.py")
    assert "preprocess-batch" in found and not found & {
        "synthetic",
        "ingest",
        "pack",
        "train",
        "predict-samples",
        "baselines",
    }


def test_a_scan_is_computed_again_for_the_code_that_computes_it_and_not_for_that_of_its_batch(package):
    """The hash in the scan's own record: a change in how batches are done runs them, and they keep every scan."""
    root, hashes = package

    def scan_code() -> str:
        return codehash.module_hash("imaging.preprocess") + codehash.module_hash("imaging.scan_files")

    def after(file: str) -> bool:
        hashes()
        before = scan_code()
        (root / file).write_text((root / file).read_text() + "\nADDED = 1\n")
        hashes()
        return scan_code() != before

    assert after("imaging/registration.py") and after("imaging/tissues.py") and after("imaging/scan_files.py")
    assert not after("imaging/batch.py") and not after("workers.py") and not after("progress.py")


def test_report_code_and_its_templates_rerun_no_stage_before_it(package):
    assert appended(package, "report/pages.py") == {"report"}
    found = appended(package, "report/templates/report.css", "/* more */")
    assert found == {"report", "bundle", "apply-model"}


def test_training_loop_reruns_training(package):
    found = appended(package, "learning/training.py")
    assert "train" in found and not found & {"synthetic", "ingest", "preprocess-batch", "pack", "report"}


def test_touch_reruns_nothing(package):
    root, hashes = package
    before = hashes()
    for path in root.rglob("*.py"):
        path.touch()
    assert hashes() == before


@pytest.mark.parametrize("file", ["sources/raw_bids.py", "imaging/registration.py", "learning/loop.py", "files.py"])
def test_reworded_docstring_or_comment_reruns_nothing(package, file):
    root, _ = package
    opening = (root / file).read_text()[:20]
    assert opening.startswith('"""')
    assert replaced(package, file, opening, '"""Other words than ') == set()
    assert appended(package, file, '\n# A comment.\n\n"""A bare text."""\n') == set()


def test_docstring_of_a_function_or_class_reruns_nothing(package):
    assert replaced(package, "learning/loop.py", '"""A training in progress.', '"""One training.') == set()
    assert replaced(package, "imaging/overlap.py", '"""Return the Dice overlap', '"""The overlap') == set()


def test_progress_bar_reruns_nothing(package):
    assert replaced(package, "progress.py", 'unit=" scans"', 'unit=" images"') == set()
    assert appended(package, "progress.py") == set()


def test_progress_bars_are_apart_from_what_they_show():
    imported = codemeaning.imported_names(ast.parse((codehash.ROOT / "progress.py").read_text()))
    assert {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) == {"tqdm"}
    for name in STAGES:
        for file in (file for file in codehash.covered_files(name) if file.suffix == ".py"):
            assert "import tqdm" not in file.read_text(), (
                f"{file}: a bar belongs to progress.py, whose changes rerun nothing"
            )


def test_renamed_variable_and_changed_constant_rerun(package):
    assert "train" in replaced(package, "learning/loop.py", "VALIDATION_MEMORY", "REMEMBERED_EPOCHS")
    assert "preprocess-batch" in replaced(
        package, "imaging/registration.py", "HISTOGRAM_BINS = 32", "HISTOGRAM_BINS = 64"
    )


def test_help_text_of_an_option_reruns_nothing_and_its_default_does(package):
    assert replaced(package, "cli/data.py", "SplitSettings as JSON", "JSON") == set()
    default = "split_file: Path | None = None"
    assert replaced(package, "cli/data.py", default, default.replace("= None", "= Path()")) == {"split"}


def test_description_of_a_key_reruns_nothing_and_a_key_reruns_its_own_stage(package):
    assert replaced(package, "settings/training.py", "Scans in a step.", "Scans of a step.") == set()
    found = appended(package, "settings/report.py")
    assert not found & {"ingest", "preprocess-batch", "select", "train", "predict-samples", "evaluate"}
    assert "train" in appended(package, "settings/training.py")
    assert "train" not in appended(package, "settings/evaluation.py")


def test_change_of_one_subcommand_reruns_no_other(package):
    assert replaced(package, "cli/data.py", "seed=wanted.seed", "seed=wanted.seed + 1") == {"split"}


def test_a_package_behind_a_subcommand_counts_as_its_modules_do(package):
    assert "train" in appended(package, "learning/tasks/segmentation.py")
    assert "train" in appended(package, "learning/__init__.py")


@pytest.mark.parametrize("file", ["study/messages.py", "study/experiments.py", "study/members.py"])
def test_words_on_a_faulty_configuration_rerun_no_data_and_no_training(package, file):
    assert not appended(package, file) & {"ingest", "preprocess-batch", "select", "train", "predict-samples"}


def test_tables_of_predictions_rerun_predictions_and_baselines_and_no_training(package):
    found = appended(package, "learning/prediction_tables.py")
    assert {"predict-samples", "baselines"} <= found and not found & {"train", "preprocess-batch"}


def test_training_loss_reruns_no_baseline(package):
    assert "baselines" not in appended(package, "learning/tasks/regression.py")


def test_training_needs_no_image_processing_and_preprocessing_no_learning():
    folders = {
        name: {file.parent.name for file in codehash.covered_files(name)} for name in ("train", "preprocess-batch")
    }
    assert "imaging" not in folders["train"] and "cohorts" not in folders["train"]
    assert "learning" not in folders["preprocess-batch"]


def test_files_that_an_editor_leaves_count_for_nothing(package):
    root, hashes = package
    before = hashes()
    (root / "imaging" / ".#overlap.py").symlink_to("somebody@somewhere.1234")  # Emacs' lock of an open file
    (root / "imaging" / ".overlap.py.swp").write_text("Vim's copy")
    (root / "imaging" / "overlap.py~").write_text("a backup")
    assert hashes() == before


def test_a_file_that_is_being_edited_stops_no_other_stage(package):
    assert appended(package, "report/pages.py", "\ndef half(\n") == {"report"}


def globals_of(table):
    """The names that a function, or one inside it, takes from its module."""
    return {name.get_name() for name in table.get_symbols() if name.is_global()}.union(
        *map(globals_of, table.get_children())
    )


def test_subcommands_use_nothing_of_their_own_module():
    """Which the hash would not see: a subcommand is hashed alone, and what else it needs is imported inside it."""
    for file in codehash.COMMANDS.glob("*.py"):
        source = file.read_text()
        tree, table = ast.parse(source), symtable.symtable(source, str(file), "exec")
        own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
        own |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        for function in (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in STAGES):
            used = {node.id for node in ast.walk(function.args) if isinstance(node, ast.Name)}
            used |= globals_of(table.lookup(function.name).get_namespace())
            assert not used & own, f"{file.name}: {function.name}"


def test_no_module_reads_docstrings_or_imports_what_the_hash_would_not_find():
    for file in sorted(codehash.ROOT.rglob("*.py")):
        if (
            file.name in ("codehash.py", "codemeaning.py")
            or file.relative_to(codehash.ROOT).as_posix() in codehash.SEARCHED
        ):
            continue
        source = file.read_text()
        assert not re.search(r"\b(__doc__|getdoc|import_module|__import__)\b", source), file
        assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(ast.parse(source))), file


def test_a_network_is_behind_what_trains_it_although_no_import_names_it(package):
    root, hashes = package
    before = hashes()
    for name in ("architectures/toy.py", "architectures/modules/toy.py"):
        (root / name).write_text("ADDED = 1\n")
        after = hashes()
        assert after["train"] != before["train"] and after["pack"] == before["pack"]
        before = after


def test_a_network_over_sessions_is_behind_longitudinal_analyses_and_no_training_of_scans(package):
    root, hashes = package
    before = hashes()
    (root / "learning/session_networks/toy.py").write_text("ADDED = 1\n")
    after = hashes()
    assert after["longitudinal"] != before["longitudinal"] and after["train"] == before["train"]


def test_imports_are_found_in_every_form():
    source = """
from neurocohort.imaging import (
    quality,  # a comment
    rigid as other,
)
def late():
    from neurocohort import files; import neurocohort.errors
    import neurocohort.study.members as them, neurocohort.dataset.pack
"""
    names = ["imaging", "imaging.quality", "imaging.rigid", "files", "errors", "study.members", "dataset.pack"]
    assert codemeaning.imported_names(ast.parse(source)) == {"neurocohort", *(f"neurocohort.{name}" for name in names)}


# --- the cache


def test_second_start_parses_nothing(package, monkeypatch):
    _, hashes = package
    before = hashes()
    monkeypatch.setattr(codehash.ast, "parse", lambda source: pytest.fail("parsed again"))
    assert hashes() == before


def test_changed_file_alone_is_parsed_again(package, monkeypatch):
    root, hashes = package
    hashes()
    (root / "imaging/overlap.py").write_text("ADDED = 1\n")
    parse, parsed = ast.parse, []
    monkeypatch.setattr(codehash.ast, "parse", lambda source: parsed.append(source) or parse(source))
    hashes()
    assert parsed == [b"ADDED = 1\n"]


def edited_digit(content: bytes) -> bytes:
    """The cache with one other digit in the meaning of a file, still JSON."""
    kept = json.loads(content)
    for codes in kept["files"].values():
        for code in codes.values():
            code[0] = code[0][::-1]
    return json.dumps(kept).encode()


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: content[: len(content) // 2], lambda content: b"[1, 2]", edited_digit],
    ids=["empty", "half", "other", "edited"],
)
def test_damaged_cache_is_not_believed_and_is_made_anew(package, damage):
    _, hashes = package
    before = hashes()
    whole = codehash.cache_path().read_bytes()
    codehash.cache_path().write_bytes(damage(whole))
    assert hashes() == before
    assert codehash.cache_path().read_bytes() == whole


def test_cache_of_other_hashing_code_is_not_believed(package, monkeypatch, tmp_path):
    _, hashes = package
    hashes()
    assert codehash._read_cache()
    other = tmp_path / "codemeaning.py"
    other.write_text("# another form\n")
    monkeypatch.setattr(codemeaning, "__file__", str(other))
    assert codehash._read_cache() == {}


def test_without_a_place_for_the_cache_the_hashes_are_the_same(package, monkeypatch, tmp_path):
    _, hashes = package
    before = hashes()
    (tmp_path / "file").touch()
    monkeypatch.setattr(codehash, "cache_path", lambda: tmp_path / "file" / "codehash.json")
    assert hashes() == before


def test_processes_that_start_together_agree_and_leave_a_whole_cache(package):
    root, hashes = package
    before = hashes()
    cache = codehash.cache_path()
    cache.unlink()
    command = [sys.executable, "-c", "from neurocohort.codehash import code_hash; print(code_hash('train'))"]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(root.parent), "PATH": ""})
        for _ in range(3)
    ]
    assert {process.communicate()[0].strip() for process in started} == {before["train"]}
    assert json.loads(cache.read_bytes())["files"]
    assert [file.name for file in cache.parent.glob("*codehash.json")] == ["codehash.json"]


# --- the form of a syntax tree


def meaning(source):
    return codemeaning.meaning_of(ast.parse(source))


@pytest.mark.parametrize(
    "source, other",
    [
        ("x = 1", "x = (1)  # a comment"),
        ("def f():\n    return 1", 'def f():\n    """What it does."""\n    return 1'),
        ("class A:\n    pass", 'class A:\n    """What it is."""'),
        ("x: int = 1", 'x: int = 1\n"""What it is."""'),
        ("x = 'text'", 'x = u"te" "xt"'),
        ("f(typer.Option())", "f(typer.Option(help='a text'))"),
        ("age: float = Field(0, ge=0)", "age: float = Field(0, ge=0, description='In years.')"),
        ("x = f'a{b}c'", "x = 'a' f'{b}' 'c'"),
    ],
)
def test_same_meaning(source, other):
    assert meaning(source) == meaning(other)


@pytest.mark.parametrize(
    "source, other",
    [
        ("x = 1", "y = 1"),
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 'a'", "x = b'a'"),
        ("x = None", "x = ..."),
        ("x = 0.0", "x = -0.0"),
        ("x = []", "x = ()"),
        ("x = ['a', 'b']", "x = ['ab']"),
        ("{**a, 'b': c}", "{'b': c, **a}"),
        ("f(*a)", "f(a)"),
        ("f(help='a')", "f(help='b')"),
        ("def f(a, /, b): ...", "def f(a, b): ..."),
        ("def f(a, *, b): ...", "def f(a, b): ..."),
        ("def f(*, a, b=1): ...", "def f(*, a=1, b): ..."),
        ("x = a[1:]", "x = a[:1]"),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("x = f'{a:.2f}'", "x = f'{a:.3f}'"),
        ("x = f'{a}b'", "x = f'b{a}'"),
        ("return_ = 'text'", "return_ = 'other'"),
        ("if a:\n    b()\nc()", "if a:\n    b()\n    c()"),
        ("from a import b", "from .a import b"),
        ("x: int", "(x): int"),
        ("[a async for a in b]", "[a for a in b]"),
        ("try:\n    a()\nexcept B:\n    pass", "try:\n    a()\nfinally:\n    pass"),
    ],
)
def test_other_meaning(source, other):
    assert meaning(source) != meaning(other)


SAMPLE = '''
"""A module."""
import os.path as p
from typing import Annotated
A: dict[str, float] = {"a": 1.5, **B, "ä\\ud800": 1e-300, "b": 0x1F, "c": 3j}
@decorated(1)
class C(Base, metaclass=M):
    """A class."""
    x: int = -1
    async def f(self, a, /, b=1, *c, d, e: "str" = b"\\0", **g) -> None:
        """A function."""
        async with a as b, c:
            yield f"{a}{b!r:>{d}.{e}f} {{}} {c=} {d:}" "more" f"{e:%H:%M}"
        return [i for i in b if not i] or (lambda *z: z)(*c, k=..., **g)
try:
    global x
    del x[1:2, ..., ::3]
except (A, B) as error:
    raise C from error
else:
    while (y := x) and 0 <= y < 2 is not None: y @= ~2; continue
finally:
    match x:
        case {"a": [1, *_], **rest} | C(x=None) if rest: pass
        case _: print("", end="")
try:
    nonlocal_ = 10**400
except* D:
    assert x, f"a" f""
'''


def test_form_is_the_same_under_every_python():
    """The digest was computed under 3.11, 3.12 and 3.13; a change of the form reruns every rule of every study once."""
    assert meaning(SAMPLE) == "1daabd4015b4050ed52cabf8c290478b7ee7a62bfbd073a538caf4b3e27b0590"


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_package_means_the_same_to_another_python(version):
    installed = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    working = [
        path for path in installed if path and not subprocess.run([path, "-c", ""], capture_output=True).returncode
    ]
    if not working:
        pytest.skip(f"python{version} isn't installed")
    script = (
        "import ast, sys\nfrom pathlib import Path\nfrom neurocohort.codemeaning import meaning_of\n"
        "for file in sorted(Path(sys.argv[1]).rglob('*.py')): print(meaning_of(ast.parse(file.read_bytes())))"
    )
    meanings = [
        subprocess.run([python, "-c", script, codehash.ROOT / "learning"], capture_output=True, text=True, check=True,
                       env={"PYTHONPATH": str(codehash.ROOT.parent)}).stdout
        for python in (sys.executable, working[0])
    ]  # fmt: skip
    assert meanings[0] == meanings[1] and meanings[0]


def function(source="def f(a): return f'x{a}y'"):
    return ast.parse(source)


def text(value):
    return ast.Constant(value)


def test_form_of_trees_as_later_pythons_make_them():
    expected = codemeaning.meaning_of(function())
    later = function()
    later.body[0].type_params = []  # 3.12
    later.body[0]._fields = (*later.body[0]._fields, "type_params", "added_later", "also_later")
    later.body[0].added_later, later.body[0].also_later = None, []
    assert codemeaning.meaning_of(later) == expected
    sparse = function()
    del sparse.body[0].decorator_list, sparse.body[0].returns, sparse.body[0].args.kwonlyargs
    assert codemeaning.meaning_of(sparse) == expected
    generic = function()
    generic.body[0]._fields = (*generic.body[0]._fields, "type_params")
    generic.body[0].type_params = [ast.Name("T", ast.Load())]
    assert codemeaning.meaning_of(generic) != expected


def test_form_of_an_f_string_does_not_depend_on_how_it_is_divided():
    expected = codemeaning.meaning_of(function())
    for divide in (
        lambda parts: [text(""), *parts, text("")],
        lambda parts: [text("x"), text(""), *parts[1:]],
        lambda parts: [ast.JoinedStr(parts[:2]), parts[2]],
    ):
        tree = function()
        string = tree.body[0].body[0].value
        string.values = divide(string.values)
        assert codemeaning.meaning_of(tree) == expected
    for specification in (ast.JoinedStr([]), ast.JoinedStr([text("")])):
        tree = function()
        tree.body[0].body[0].value.values[1].format_spec = specification
        assert codemeaning.meaning_of(tree) == expected
