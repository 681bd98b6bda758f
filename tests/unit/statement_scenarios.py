"""The texts in which the test of the statements looks for every sentence: scenarios that each differ from a small study in one
thing, and what the report says about them."""

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from matplotlib.figure import Figure
from report_fixture import make_study
from statement_adaptation import ADAPTATION, ADAPTATION_OPTIONS
from statement_counterfactual import COUNTERFACTUAL_OPTIONS, COUNTERFACTUAL_PIECES
from statement_few_labels import FEW_LABELS_OPTIONS, FEW_LABELS_PIECES
from statement_generation import GENERATION_OPTIONS, GENERATION_PIECES
from statement_longitudinal import LONGITUDINAL_OPTIONS, LONGITUDINAL_PAGES, LONGITUDINAL_PIECES
from statement_options import OPTIONS
from statement_pages import PAGES
from statement_pieces import PIECES, plans
from statement_pretraining import PRETRAINING_OPTIONS, PRETRAINING_PAGES, PRETRAINING_PIECES
from statement_regions import REGION_OPTIONS, REGION_PIECES
from statement_structures import STRUCTURE_OPTIONS, STRUCTURE_PAGES
from statement_study import Scenario
from statement_translation import TRANSLATION_PAGES, TRANSLATION_PIECES

CHANGES = {
    **OPTIONS,
    **STRUCTURE_OPTIONS,
    **PRETRAINING_OPTIONS,
    **LONGITUDINAL_OPTIONS,
    **ADAPTATION_OPTIONS,
    **FEW_LABELS_OPTIONS,
    **GENERATION_OPTIONS,
    **COUNTERFACTUAL_OPTIONS,
    **REGION_OPTIONS,
}


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Every scenario's name and what it prints. Figures that are files of their own are not drawn, which takes long."""
    draw = Figure.savefig

    def save(figure: Figure, target, **options) -> None:
        if isinstance(target, str | Path):
            Path(target).touch()
        else:  # SVG in the page
            draw(figure, target, **options)

    with patch.object(Figure, "savefig", save):
        yield from _texts(folder)


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    original = folder / "original"
    make_study(original, participants=20)
    for make in (*PAGES, *STRUCTURE_PAGES, *PRETRAINING_PAGES, *LONGITUDINAL_PAGES, *TRANSLATION_PAGES):
        yield make.__name__, make(Scenario(original, folder / make.__name__))
    for option, change in CHANGES.items():
        scenario = Scenario(original, folder / option)
        change(scenario)
        yield option, scenario.text()
    pieces = {**PIECES, **PRETRAINING_PIECES, **LONGITUDINAL_PIECES, **ADAPTATION, **FEW_LABELS_PIECES}
    pieces |= COUNTERFACTUAL_PIECES
    for name, say in {**pieces, **GENERATION_PIECES, **REGION_PIECES, **TRANSLATION_PIECES}.items():
        yield name, "\n".join(say())
    yield from plans(folder)


def by_kind(printed: dict[str, str]) -> list[list[str]]:
    """The texts of the scenarios, those of a kind together: pages, methods texts, plans, and the rest."""
    kinds: dict[str, list[str]] = {}
    pages = {
        make.__name__
        for make in (*PAGES, *STRUCTURE_PAGES, *PRETRAINING_PAGES, *LONGITUDINAL_PAGES, *TRANSLATION_PAGES)
    }
    for name, text in printed.items():
        kind = "page" if name in pages else "methods" if name in CHANGES else name.partition("_")[0]
        kinds.setdefault(kind, []).append(text)
    return list(kinds.values())
