"""No sentence of the report, the methods text, the cards, the checklists, the headline or the plan is printed whatever the study:
for each there is a study that has it and one that has not, or a reason why it is always true."""

import pytest
from statement_scenarios import by_kind, texts
from statements import ALWAYS_BY_BEGINNING, LIST, always, statements, written_list

pytestmark = pytest.mark.slow  # it makes some forty whole reports


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, str]:
    """What is printed, case-folded, by scenario."""
    return {name: text.casefold() for name, text in texts(tmp_path_factory.mktemp("statements"))}


def test_every_sentence_appears_and_disappears(printed):
    silent, steady = [], []
    for one in statements():
        # A sentence of the page has to be absent from a page: that a plan lacks it shows nothing.
        of_kind = [[one.is_in(text) for text in texts] for texts in by_kind(printed)]
        own = [found for found in of_kind if any(found)]
        if not own:
            silent.append(f"{one.place}: {one.text}")
        elif all(map(all, own)) and not always(one.text):
            steady.append(f"{one.place}: {one.text}")
    assert not silent, "no scenario prints:\n" + "\n".join(silent)
    assert not steady, "printed in every scenario, without a reason in ALWAYS_BY_BEGINNING:\n" + "\n".join(steady)


def test_each_reason_for_printing_always_is_of_a_sentence_that_there_is():
    texts = [one.text for one in statements()]
    unused = [beginning for beginning in ALWAYS_BY_BEGINNING if not any(text.startswith(beginning) for text in texts)]
    assert unused == []


def test_the_list_of_sentences_is_that_of_the_code():
    assert LIST.read_text(encoding="utf-8") == written_list(), "run: python tests/statements.py"
