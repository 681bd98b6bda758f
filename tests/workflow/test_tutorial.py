"""Every command of docs/tutorial.md, in a copy of the checkout in which the demo has run, and the output that the page shows."""

import re
from dataclasses import dataclass

import pytest
from checkouts import CORES, Checkout, copy_checkout, take_demo

pytestmark = pytest.mark.slow

PAGE = "docs/tutorial.md"
FENCE = re.compile(
    r"^```(?P<language>\w+)(?: title=\"(?P<file>[^\"]+)\")?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
DECIMAL, ANY_DECIMAL = re.compile(r"(?<![\w.])-?\d+\\\.\d+(?![\w.])"), r"-?\\d+(?:\\.\\d+)?(?:e-?\\d+)?"
DEMO_BLOCK = "make demo\nsource .venv/bin/activate\n"


@dataclass(frozen=True)
class Block:
    """A fenced block of the page: commands (bash), output of the commands before it (text), or a file that the reader writes."""

    language: str
    file: str | None
    text: str


def blocks_of(page: str) -> list[Block]:
    return [Block(found["language"], found["file"], found["text"]) for found in FENCE.finditer(page)]


def pattern_of(shown: str) -> str:
    """The output that a text block shows, as a regular expression for `normalised` output. Decimal numbers are measured and may
    differ; whole numbers, such as counts of jobs, may not. ``...`` is any lines, or any rest of a line."""
    pattern = ""
    for line in normalised(shown).splitlines():
        if line == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += DECIMAL.sub(ANY_DECIMAL, re.escape(line)).replace(re.escape("..."), ".*") + r"\n"
    return pattern


def normalised(output: str) -> str:
    lines = (" ".join(line.split()) for line in output.splitlines())
    return "\n".join(filter(None, lines)) + "\n"


def demo_commands(checkout: Checkout) -> str:
    """The commands of `make demo`, without the installation: the tests run in an environment that is installed already."""
    makefile = checkout.path("Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^demo: .*\n((?:\t.+\n)+)", makefile, re.MULTILINE)[1]
    return recipe.replace("\t", "").replace("$(CORES)", CORES)


def run_block(checkout: Checkout, block: Block) -> str:
    """Run the commands of a block in a shell and return what they printed. The first command that fails fails the test."""
    commands = demo_commands(checkout) if block.text == DEMO_BLOCK else block.text
    done = checkout.run("bash", "-euo", "pipefail", "-c", f"exec 2>&1\n{commands}", check=False)
    assert done.returncode == 0, f"{PAGE}: these commands ended with {done.returncode}:\n{commands}\n{done.stdout}"
    return done.stdout


def test_shown_output_may_differ_in_decimals_and_where_lines_are_left_out():
    pattern = pattern_of("job  count\n...\ntrain 3\nMAE 5.11 [-0.2, 9.06] ...\n")
    assert re.search(pattern, normalised("x\njob count\nselect 1\ntrain   3\n\nMAE 6.02 [1.0, 8.1] years of 11\ny\n"))
    assert not re.search(pattern, normalised("job count\ntrain 4\nMAE 6.02 [1.0, 8.1] years\n"))
    assert not re.search(pattern, normalised("job count\ntrain 3\nAUC 6.02 [1.0, 8.1] years\n"))


def test_every_command_of_the_tutorial_works_and_prints_what_is_shown(repository, demo, tmp_path):
    page = (repository / PAGE).read_text(encoding="utf-8")
    blocks = blocks_of(page)
    assert len(blocks) == page.count("\n```") / 2, f"{PAGE} has a fence that this test doesn't understand"
    checkout = copy_checkout(repository, tmp_path)
    take_demo(
        demo.folder, checkout
    )  # other tests may have added cohorts to it; the first block then updates the results
    printed = ""
    for block in blocks:
        if block.file:
            checkout.path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            printed = run_block(checkout, block)
        else:
            assert block.language == "text", (
                f"{PAGE}: a block is neither commands, nor output, nor a file:\n{block.text}"
            )
            found = re.search(pattern_of(block.text), normalised(printed))
            assert found, f"{PAGE} shows:\n{block.text}\nbut the commands before it printed:\n{printed}"
