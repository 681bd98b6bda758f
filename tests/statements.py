"""Every sentence that a study's report, methods text, model cards, checklists, headline and plan can print, with the condition
that the code sets for it.

The sentences are read from the source: string literals of the modules below, and the text of the templates. So are their
conditions: the tests of the ifs around a sentence, the negation of those that return before it, and the loops that it is in.
``python tests/statements.py`` writes the list, ``docs/statements.md``; a test compares the two, and fails for a sentence that no
test has made both appear and disappear.
"""

import ast
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "workflow" / "neurocohort"
LIST = ROOT / "docs" / "statements.md"
MODULES = (
    *(f"report/{name}.py" for name in (
        "headline", "gates", "networks", "development", "claims", "evaluations", "exclusions", "methods_numbers", "model_card",
        "model_limits", "checklists", "participants", "results", "tables", "comparisons_section", "regression_results",
        "classification_results", "classification_tables", "segmentation_results", "shift", "training", "sweeps", "saliency",
        "cases", "quality", "subjects", "given", "repeatability", "site_effects", "applied", "learning_curve",
        "applied_models", "pretraining", "auxiliary_results", "longitudinal", "adaptation", "few_labels", "generation", "regions",
        "translation", "counterfactual",
    )),
    *(f"evaluation/{name}.py" for name in (
        "brain_age", "operating_point", "classification_details", "segmentation_details", "controls", "predictors",
        "site_prediction", "harmonisation_details", "learning_curve", "auxiliary", "session_inputs", "session_baselines",
        "adaptation", "few_labels", "counterfactual",
    )),
    "dataset/sessions.py",
    "cluster/planning/text.py",
)  # fmt: skip
TEMPLATES = PACKAGE / "report" / "templates"
FEWEST_WORDS = 5  # of a sentence; headings and labels have fewer
WORD = re.compile(r"[A-Za-z]{2,}")
# Calls whose texts are messages of an error or names of a missing file: the red boxes' own tests hold those.
NOT_PRINTED = {"InputError", "ValueError", "lack", "table", "record", "rows", "Option", "compile"}
REGULAR_EXPRESSION = re.compile(r"\[\^|\\b|\w\|\w|\|step|\.\*")  # a pattern that is searched for, not printed
GAP = "…"  # what is filled in
INTRODUCTION = (
    "Every sentence of the report, the methods text, the model cards, the checklists, the headline and `neurocohort plan`, with "
    "the condition that the code sets for it. Made by `python tests/statements.py` from the source; a test "
    "(`tests/unit/test_statements.py`) compares it with the code, and fails for a sentence that no study of the "
    "tests both has and has not. `…` is filled in."
)
# Why a sentence is true of every study; the sentences themselves, by their beginnings, are below.
READING = "says how to read what follows, not what was found"
EVERY_SCAN = "what preprocessing does to every scan"
CONFIGURED = "from the configuration, which every study has"
ALWAYS_BY_BEGINNING = {
    "Clear of the best baseline": "the name of a gate",
    "A scan was excluded where its brain mask": EVERY_SCAN,
    "A scan was excluded where its …brain mask had a Dice overlap": EVERY_SCAN,
    "Each brain was resampled once": EVERY_SCAN,
    "was cut over more than": EVERY_SCAN,
    ". A scan was excluded where more than … % of the template's brain": EVERY_SCAN,
    "a mixture of one Gaussian per tissue": EVERY_SCAN,
    "values beyond were clipped": EVERY_SCAN,
    "Intensities were scaled within the mask": EVERY_SCAN,
    "Quality numbers of every usable scan": EVERY_SCAN,
    "Random numbers followed from seeds": CONFIGURED,
    "The network … from …. Its architecture": CONFIGURED,
    "Weights: results/experiments/": "where the workflow puts them",
    "Diagnosis, prognosis, or any decision": "what no network of the workflow is for",
    "The weights were learned from these data": "true of every network",
    "Nothing in this report answers this item.": "some items no report answers: each of these is for the author",
    "The card of each network states where": "every report has the cards and the provenance",
    "The text names what each experiment predicted.": CONFIGURED,
    "Sources with counts. Ages": "the paragraph on data begins with the sources that are configured",
    "The text names the target of each experiment": CONFIGURED,
    "Every step of the workflow with its settings": CONFIGURED,
    "The limits for the exclusion of scans.": CONFIGURED,
    "The whole configuration and the command": "every report has the provenance",
    "The model cards state the terms of each cohort.": "each card has them, or says that they are not recorded",
    "Disk: …… at its peak": "a figure of every plan",
    "rates: measured on one core of": "the table of rates is part of the package",
    "What this report answers of two reporting guidelines": READING,
    "…: … of … items filled": "counts of every report",
    "Table …. …, … (…). Look at the items": READING,
    "report.zip has this page": "the report makes it",
    "Loss by epoch, on the training scans": READING,
    "Written from the configuration that ran": "how the text is made",
    "Copy the text with its references": "a button",
    "Each network, its training data and its limits.": READING,
    "The participants who were included and excluded": READING,
    "Numbers compared with the cohort": "a heading",
    "… provenance.json has all of it": "the report writes both files",
    "The whole configuration, defaults filled in": "a heading",
    "One row a scan. What to look for": READING,
    "What to do: where it does not": READING,
    "Results on the held-out part": "a heading",
    "The held-out participants of the training cohorts.": READING,
    "Each experiment on each cohort and site": READING,
    "A participant with all scans belongs to one part.": READING,
    "The headline metric of each experiment": READING,
    "… names the commit, the configuration": "what the run's name is made of",
}


@dataclass(frozen=True)
class Statement:
    """``text``: the sentence, `GAP` where something is filled in; ``place``: file and function; ``condition``: in the code's
    words, empty where it is always printed."""

    text: str
    place: str
    condition: str

    def is_in(self, text: str) -> bool:
        """Whether a line of ``text`` (case-folded) holds the sentence, whatever its gaps are filled with."""
        pieces = [
            piece.casefold() for piece in self.text.split(GAP) if piece.strip()
        ]  # a sentence may begin with a capital
        longest = max(pieces, key=len)
        start = text.find(longest)
        while start >= 0:
            end = text.find("\n", start)
            end = len(text) if end < 0 else end
            if _in_order(pieces, text[text.rfind("\n", 0, start) + 1 : end]):
                return True
            start = text.find(longest, end)
        return False


def _in_order(pieces: list[str], line: str) -> bool:
    place = 0
    for piece in pieces:
        place = line.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    return True


def always(text: str) -> str:
    """Why this sentence is true of every study; empty where nothing says so."""
    return next((why for beginning, why in ALWAYS_BY_BEGINNING.items() if text.startswith(beginning)), "")


def statements() -> list[Statement]:
    """All of them, by file."""
    found = [one for name in MODULES for one in python_statements(PACKAGE / name)]
    for path in sorted(TEMPLATES.rglob("*.j2")):
        found += template_statements(path)
    found += answer_statements(PACKAGE / "report" / "checklists" / "answers.yaml")
    return list({(one.text, one.place): one for one in found}.values())


def python_statements(path: Path) -> Iterator[Statement]:
    """The sentences of a module's string literals, f-strings with their gaps."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from _Reader(str(path.relative_to(PACKAGE))).read(tree)


class _Reader:
    def __init__(self, file: str):
        self.file, self.found = file, []

    def read(self, tree: ast.Module) -> list[Statement]:
        self._block(tree.body, "", [])
        return self.found

    def _block(self, body: list[ast.stmt], function: str, conditions: list[str]) -> None:
        conditions = list(conditions)
        for index, node in enumerate(body):
            docstring = index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if docstring:
                continue
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                self._block(node.body, f"{function}.{node.name}".strip("."), conditions)
            elif isinstance(node, ast.If):
                test = ast.unparse(node.test)
                self._expression(node.test, function, conditions)
                self._block(node.body, function, [*conditions, test])
                self._block(node.orelse, function, [*conditions, f"not ({test})"])
                if _leaves(node.body) and not node.orelse:
                    conditions.append(f"not ({test})")
            elif isinstance(node, ast.For):
                loop = f"for each {ast.unparse(node.target)} of {ast.unparse(node.iter)}"
                self._block(node.body, function, [*conditions, loop])
            elif isinstance(node, ast.With | ast.Try):
                self._block(node.body, function, conditions)
                for handler in getattr(node, "handlers", []):
                    self._block(
                        handler.body,
                        function,
                        [*conditions, f"{ast.unparse(handler.type or ast.Name('Exception'))} was raised"],
                    )
            elif isinstance(node, ast.Match):
                for case in node.cases:
                    self._block(
                        case.body,
                        function,
                        [*conditions, f"{ast.unparse(node.subject)} is {ast.unparse(case.pattern)}"],
                    )
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "what":
                continue  # names what a red box lacks
            elif not isinstance(node, ast.Raise | ast.Import | ast.ImportFrom):
                self._expression(node, function, conditions)

    def _expression(self, node: ast.AST, function: str, conditions: list[str]) -> None:
        if isinstance(node, ast.Constant | ast.JoinedStr):
            self._text(node, function, conditions)
            if isinstance(node, ast.JoinedStr):
                for part in node.values:
                    if isinstance(part, ast.FormattedValue):
                        self._expression(part.value, function, conditions)
            return
        if isinstance(node, ast.IfExp):
            test = ast.unparse(node.test)
            self._expression(node.test, function, conditions)
            self._expression(node.body, function, [*conditions, test])
            self._expression(node.orelse, function, [*conditions, f"not ({test})"])
            return
        if isinstance(node, ast.Call) and _name(node.func) in NOT_PRINTED:
            return
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                words = [f"the key is {ast.unparse(key)}"] if key is not None else []
                self._expression(value, function, [*conditions, *words])
            return
        if isinstance(node, ast.comprehension):
            for child in (node.iter, *node.ifs):
                self._expression(child, function, conditions)
            return
        if isinstance(node, ast.GeneratorExp | ast.ListComp | ast.SetComp):
            tests = [ast.unparse(test) for part in node.generators for test in part.ifs]
            self._expression(node.elt, function, [*conditions, *tests])
            for part in node.generators:
                self._expression(part, function, conditions)
            return
        for child in ast.iter_child_nodes(node):
            self._expression(child, function, conditions)

    def _text(self, node: ast.AST, function: str, conditions: list[str]) -> None:
        text = _static(node)
        if REGULAR_EXPRESSION.search(text):
            return
        if len(WORD.findall(text)) >= FEWEST_WORDS:
            place = f"{self.file}: {function}" if function else self.file
            self.found.append(Statement(text, place, " and ".join(conditions)))


def template_statements(path: Path) -> Iterator[Statement]:
    """The sentences between a template's tags, each with the ifs and fors that it is in."""
    source = path.read_text(encoding="utf-8")
    place, stack, text = f"report/templates/{path.relative_to(TEMPLATES)}", [], ""

    def said() -> Iterator[Statement]:
        nonlocal text
        for piece in re.split(
            r"</?(?:p|li|h\d|td|th|dt|dd|figcaption|caption|summary|section|div|article|ul|ol|tr|title)\b[^>]*>", text
        ):
            words = _folded(html.unescape(re.sub(r"<[^>]*>", "", piece)))
            if "<" not in re.sub(r"<\w+>", "", words) and len(WORD.findall(words)) >= FEWEST_WORDS:
                yield Statement(words, place, " and ".join(stack))
        text = ""

    for piece in re.split(r"(\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\})", source, flags=re.DOTALL):
        if piece.startswith(("{{-", "{%-")):
            text = text.rstrip()
        if piece.startswith("{{"):
            text += GAP
        elif piece.startswith("{%"):
            word, _, rest = piece[2:-2].strip().strip("-").strip().partition(" ")
            yield from said()
            if word in ("if", "for", "macro"):
                stack.append({"if": rest, "for": f"for each {rest}", "macro": f"in {rest}"}[word])
            elif word == "elif":
                stack[-1] = f"not ({stack[-1]}) and {rest}"
            elif word == "else":
                stack[-1] = f"not ({stack[-1]})"
            elif word in ("endif", "endfor", "endmacro"):
                stack.pop()
        elif not piece.startswith("{#"):
            text += piece
    yield from said()


def answer_statements(path: Path) -> Iterator[Statement]:
    """The sentences with which a report answers an item of a checklist, each with what it needs."""
    for name, answers in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        for one in answers:
            needed = [f"{one['anchor']} is on the page", *(f"{need} are shown" for need in one.get("needs", ()))]
            needed += [f"the text has {one['pattern']}"] if "pattern" in one else []
            yield Statement(one["sentence"], f"report/checklists/{path.name}: {name}", " and ".join(needed))


def _static(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return _folded(re.sub(r"\{\w*\}", GAP, node.value)) if isinstance(node.value, str) else ""
    pieces = [part.value if isinstance(part, ast.Constant) else GAP for part in node.values]
    return _folded("".join(pieces))


def _folded(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _leaves(body: list[ast.stmt]) -> bool:
    return isinstance(body[-1], ast.Return | ast.Raise | ast.Continue)


def _name(function: ast.AST) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def written_list() -> str:
    """The list as Markdown: by file, each sentence with its condition."""
    lines = ["# What the report can say, and when", "", INTRODUCTION]
    file = ""
    for one in statements():
        own, _, function = one.place.partition(": ")
        if own != file:
            lines += ["", f"## {own}", "", "| sentence | in | printed |", "|---|---|---|"]
            file = own
        when = f"if `{_cell(one.condition)}`" if one.condition else "where its function is asked"
        if why := always(one.text):
            when = f"always: {why}"
        lines.append(f"| {_cell(one.text)} | {function or 'the module'} | {when} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")


if __name__ == "__main__":
    LIST.write_text(written_list(), encoding="utf-8")
