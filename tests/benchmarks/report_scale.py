"""The report of a large study: how long it takes, how much memory and space, and whether its page sorts and scrolls.

    python tests/benchmarks/report_scale.py --scans 600

Predictions and quality numbers are drawn; the mosaics are as large as those of real scans (74 to 122 kB), and the volumes of
the viewers lie on the usual grid of 1 mm. Prints a row and appends it to results/report_scale.tsv.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from neurocohort.files import read_json, write_json
from neurocohort.imaging.derivatives import preproc_name
from PIL import Image, ImageDraw
from rows import append_rows
from scipy import ndimage

BENCHMARKS = Path(__file__).resolve().parent
GRID = (160, 192, 160)
TEXTURE_SD = 34  # grey levels; with a correlation over a pixel it makes mosaics of 90 to 110 kB
DIFFERENT_MOSAICS = 40
GALLERY = "table.gallery"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=600)
    parser.add_argument("--viewers", type=int, default=12)
    parser.add_argument("--output", type=Path, default=BENCHMARKS / "results" / "report_scale.tsv")
    parser.add_argument("--keep", type=Path, help="a folder for the study, which then stays")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="report_scale-"))
    try:
        row = measure(folder, arguments.scans, arguments.viewers)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    for name, value in row.items():
        print(f"{name:32} {value}")
    append_rows(arguments.output, [row])


def measure(folder: Path, scans: int, viewers: int) -> dict:
    """Make the study in ``folder``, write its report in a process of its own, and look at it in a browser."""
    sys.path.insert(0, str(BENCHMARKS.parent / "unit"))
    from report_fixture import make_study, report

    study = make_study(folder, participants=scans // 2 + 1)
    study["configuration"] |= {"report": {"viewers": viewers}}
    mosaic_kb = enlarge(study["results"])
    started = time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(target=report, args=(study,))
    process.start()
    process.join()
    seconds = time.perf_counter() - started
    if process.exitcode:
        raise SystemExit(f"The report ended with {process.exitcode}.")
    report = study["output"]
    pages = sorted((report / "subjects").glob("*/*.html"))
    shown = {name: size_mb(report / name) for name in ("index.html", "figures", "mosaics")}
    row = {
        "scans": len(pages),
        "viewers": sum("<iframe" in page.read_text(encoding="utf-8") for page in pages),
        "mosaic_kb": mosaic_kb,
        "seconds": round(seconds, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "page_mb": round(sum(shown.values()), 2),
        "index_mb": shown["index.html"],
        "figures_mb": shown["figures"],
        "mosaics_mb": shown["mosaics"],
        "subjects_mb": size_mb(report / "subjects"),
        "largest_subject_mb": round(max(page.stat().st_size for page in pages) / 1e6, 2),
        "zip_mb": size_mb(report / "report.zip"),
    }
    return row | in_browser(report / "index.html")


def enlarge(results: Path) -> float:
    """Put mosaics of real size and a volume of 1 mm into the place of the small ones; the mosaics' mean size in kB."""
    generator = np.random.default_rng(1)
    volume = results / "volume.nii.gz"
    far = np.linalg.norm(np.indices(GRID) / (np.array(GRID)[:, None, None, None] / 2) - 1, axis=0)
    texture = ndimage.gaussian_filter(generator.normal(size=GRID), 1.5)
    data = np.where(far < 0.85, np.clip(0.6 + texture, 0.05, 1), 0).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 1.0, 1.0])), volume)
    drawn = [results / f"mosaic_{number}.webp" for number in range(DIFFERENT_MOSAICS)]
    for path in drawn:
        draw_mosaic(path, generator)
    for number, path in enumerate(sorted(results.glob("*/preproc/**/*_qc.json"))):
        record = read_json(path)
        if not record["outputs"]:
            continue
        mosaic = path.parent / record["outputs"]["mosaic"]["file"]
        mosaic.unlink()
        shutil.copyfile(drawn[number % len(drawn)], mosaic)
        name = preproc_name(record["scan_id"], "T1w")
        os.link(volume, path.parent / name)
        write_json(path, record | {"outputs": record["outputs"] | {"preproc_T1w": {"file": name}}})
    return round(float(np.mean([path.stat().st_size for path in drawn])) / 1000, 1)


def draw_mosaic(path: Path, generator: np.random.Generator) -> None:
    """Four rows of eight brains with a texture and an outline, as a WebP of the pipeline's size and quality."""
    brains = Image.new("L", (928, 482))
    draw = ImageDraw.Draw(brains)
    for index in range(32):
        left, top = 10 + 116 * (index % 8), 22 + 116 * (index // 8)
        draw.ellipse((left, top, left + 96, top + 110), fill=255)
    inside = np.asarray(brains) > 0
    texture = ndimage.gaussian_filter(generator.normal(size=inside.shape), 1.0)
    grey = np.where(inside, np.clip(120 + TEXTURE_SD * texture / texture.std(), 0, 255), 0).astype(np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=2)
    colour[inside & ~ndimage.binary_erosion(inside)] = (230, 159, 0)
    Image.fromarray(colour).save(path, "WEBP", quality=80, method=4)


def size_mb(path: Path) -> float:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return round(sum(file.stat().st_size for file in files) / 1e6, 2)


def in_browser(page: Path) -> dict:
    """Seconds to open the page, milliseconds to sort the first gallery by a number, and how long a frame takes in scrolling."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = browser.new_context(viewport={"width": 1440, "height": 900}, offline=True).new_page()
        begun = time.perf_counter()
        opened.goto(page.as_uri())
        load = time.perf_counter() - begun
        opened.locator(GALLERY).first.scroll_into_view_if_needed()
        sorting = opened.evaluate(SORT, GALLERY)
        scrolling = opened.evaluate(SCROLL, GALLERY)
        last = opened.locator(GALLERY).first.locator("tbody img").last.element_handle()
        last.scroll_into_view_if_needed()
        opened.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=last)
        browser.close()
    if not scrolling["end"]:
        raise SystemExit("The gallery did not scroll to its last row.")
    return {
        "load_s": round(load, 2),
        "sort_ms": round(sorting),
        "scroll_median_frame_ms": round(scrolling["median"]),
        "scroll_longest_frame_ms": round(scrolling["longest"]),
    }


# The click, the layout and the painting that follow it: the second animation frame begins when the first has been drawn.
SORT = """async gallery => {
    const button = document.querySelectorAll(`${gallery} thead button`)[4];
    const begun = performance.now();
    button.click();
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now() - begun;
}"""
SCROLL = """async gallery => {
    const box = document.querySelector(gallery).closest('.gallery-box');
    const frames = [];
    let before = performance.now();
    for (let top = 0; top < box.scrollHeight; top += 400) {
        box.scrollTop = top;
        await new Promise(done => requestAnimationFrame(done));
        frames.push(performance.now() - before);
        before = performance.now();
    }
    frames.sort((a, b) => a - b);
    const end = box.scrollTop + box.clientHeight >= box.scrollHeight - 2;
    return {longest: frames.at(-1), median: frames[frames.length >> 1], end};
}"""


if __name__ == "__main__":
    main()
