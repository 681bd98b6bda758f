"""`neurocohort serve` in Chromium: a good scan, files that can't be used, and what is left of them.

Skipped where Chromium or the optional packages are not installed, except on a build server, which sets CI=true.
"""

import contextlib
import gzip
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests
from neurocohort.nifti_files import EXTRA_BYTES
from neurocohort.serving.packages import REQUIREMENTS
from neurocohort.synthetic.anatomy import prepare_anatomy
from neurocohort.synthetic.heads import GUYS, Grid, draw_head, draw_person
from raw_scan_bundle import write_raw_scan_bundle, write_template

CHROMIUM = shutil.which("chromium")
REQUIRED = os.environ.get("CI") == "true"
if REQUIRED:
    from playwright import sync_api as playwright
else:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
if not CHROMIUM and not REQUIRED:
    pytest.skip("Debian's chromium is not installed", allow_module_level=True)
if any(importlib.util.find_spec(name) is None for name in REQUIREMENTS) and not REQUIRED:
    pytest.skip("starlette and uvicorn, optional packages, are not installed", allow_module_level=True)

MAX_MB = 60
WAIT_S = 240  # for whatever comes, on a busy machine too
NIFTI_TYPE = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Path:
    """A synthetic head at 2 mm."""
    anatomy, rng = prepare_anatomy(), np.random.default_rng(1)
    shape = (100, 128, 120)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -np.array(shape)
    person = draw_person(anatomy, age=40, sex="F", cdr=0.0, rng=rng)
    scan = draw_head(anatomy, person, GUYS, Grid(shape, affine), rng=rng).scan(rng)
    path = tmp_path_factory.mktemp("head") / "jane doe.nii.gz"
    nib.save(nib.Nifti1Image(scan, affine), path)
    return path


class Server:
    """`neurocohort serve` as a user starts it, with a small bundle and its temporary files in a folder of its own."""

    def __init__(self, folder: Path, bundle: Path):
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        command = [
            sys.executable,
            "-m",
            "neurocohort",
            "serve",
            "--model",
            str(bundle),
            "--port",
            "0",
            "--max-mb",
            str(MAX_MB),
        ]
        environment = os.environ | {"TMPDIR": str(self.temporary)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self.address = re.search(r"http://127\.0\.0\.1:\d+", self.process.stdout.readline()).group()

    def files(self) -> list[str]:
        """Uploads and results that exist."""
        found = self.temporary.glob("neurocohort-serve-*/**/*")
        return sorted(path.name for path in found if path.is_file() and path.name != "lock")

    def post(self, content: bytes, name: str = "scan.nii.gz", headers: dict = NIFTI_TYPE) -> requests.Response:
        return requests.post(
            f"{self.address}/scans", params={"name": name}, data=content, headers=headers, timeout=WAIT_S
        )

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    started = Server(folder, write_raw_scan_bundle(folder, write_template(folder)))
    yield started
    if started.process.poll() is None:
        started.end()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Page:
    """The page, with what it asked for and what it complained of."""

    def __init__(self, browser, address: str):
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT_S * 1000)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)

    def predict(self, path: Path, age: str = "") -> str:
        """Upload a file, and return the message at the end."""
        self.page.set_input_files("#file", path)
        self.page.fill("#age", age)
        self.page.click("#start")
        ended = self.page.locator("#status[data-state=done], #status[data-state=problem]")
        ended.wait_for(timeout=WAIT_S * 1000)
        return ended.inner_text()


@pytest.fixture
def page(browser, server):
    found = Page(browser, server.address)
    yield found
    found.context.close()


def header_of(shape: tuple[int, ...], kind=np.int16) -> bytes:
    """A NIfTI header without voxels."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(kind)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_sform(np.eye(4), 1)
    return header.binaryblock + bytes(4)


def packed(content: bytes) -> bytes:
    """Compressed, without the time: the bytes are part of a test's name, which must be the same in every process."""
    return gzip.compress(content, mtime=0)


def test_good_scan_gets_prediction_interval_flags_picture_and_viewer_from_this_machine_only(page, server, head):
    assert page.predict(head, age="95").startswith("Done in")
    result = page.page.frame_locator("#frame")
    text = result.locator("main").inner_text()  # headings of tables may be in capitals
    assert "predicted age" in text.lower()
    assert "The age, 95 years, is outside the range" in text
    assert result.locator("#mosaic img").evaluate("image => image.naturalWidth") > 0
    canvas = result.frame_locator("iframe.viewer").locator("canvas")
    canvas.wait_for(state="visible")
    canvas.evaluate(
        "canvas => canvas.scrollIntoView()"
    )  # Playwright's own waits for frames, which Chromium skips out of view
    assert "not a medical device" in page.page.locator(".ribbon").inner_text().lower()
    outside = [url for url in page.requests if not url.startswith((server.address, "data:", "blob:", "about:srcdoc"))]
    assert (outside, page.complaints) == ([], [])
    assert not any(name.endswith(("jane-doe.nii.gz", "scan.nii")) for name in server.files()), "the upload is deleted"
    assert "jane-doe.png" in server.files()
    page.page.click("#delete")
    page.page.locator("#status[data-state=deleted]").wait_for()
    assert server.files() == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.nii.gz", b"This is a text.\n" * 40, "can't be read as NIfTI"),
        ("picture.png", b"\x89PNG", "expected a name ending in .nii or .nii.gz"),
        ("empty.nii.gz", b"", "The file is empty"),
        ("four.nii", header_of((8, 8, 8, 3)) + bytes(8 * 8 * 8 * 3 * 2), "8 x 8 x 8 x 3 and not three-dimensional"),
        ("claim.nii.gz", packed(header_of((1024, 1024, 1024))), "2147483648 bytes; a head's image has at most"),
        ("packed.nii.gz", packed(header_of((256, 256, 512))), "67 MB of voxels when unpacked; the limit is 60 MB"),
        ("bomb.nii.gz", packed(header_of((64, 64, 64)) + bytes(64 * EXTRA_BYTES)), "continues after its voxels"),
        ("cut.nii.gz", packed(header_of((200, 200, 200))), "No prediction. read: The image is cut short"),
    ],
)  # fmt: skip
def test_file_that_cannot_be_used_gets_a_sentence_and_is_deleted(page, server, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert message in page.predict(tmp_path / name)
    assert name not in server.files()


def test_file_above_the_limit_is_refused_before_it_is_read(server):
    def large():
        for _ in range(100 * MAX_MB):
            yield bytes(1 << 20)

    request = requests.Request("POST", f"{server.address}/scans?name=a.nii", data=b"x", headers=NIFTI_TYPE).prepare()
    request.headers["Content-Length"] = str(10**12)
    answer = requests.Session().send(request, timeout=WAIT_S)
    assert answer.status_code == 413 and "the limit is 60 MB" in answer.json()["error"]
    with contextlib.suppress(
        requests.ConnectionError
    ):  # it may close the connection while the file is still being sent
        # Without a declared size, the server counts.
        assert requests.post(request.url, data=large(), headers=NIFTI_TYPE, timeout=WAIT_S).status_code == 413
    assert "a.nii" not in server.files()


def test_other_sites_cannot_use_the_page(server):
    scan = header_of((8, 8, 8))
    assert server.post(scan, headers=NIFTI_TYPE | {"Origin": "http://example.org"}).status_code == 403
    assert server.post(scan, headers={"Content-Type": "text/plain"}).status_code == 415
    assert requests.get(server.address, headers={"Host": "example.org"}, timeout=WAIT_S).status_code == 400
    for path in ("/results/x/../../lock", "/scans/x", "/results/x/..%2f..%2flock"):
        assert requests.get(server.address + path, timeout=WAIT_S).status_code == 404


def test_every_file_is_deleted_when_the_server_ends_even_during_a_job(server, head):
    job = server.post(head.read_bytes()).json()["job"]
    while requests.get(f"{server.address}/scans/{job}", timeout=WAIT_S).json()["state"] != "running":
        time.sleep(0.05)
    assert "scan.nii.gz" in server.files()
    assert server.end() == 0
    assert list(server.temporary.iterdir()) == []
