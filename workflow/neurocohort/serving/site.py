"""The pages and the requests of the server. Nothing is loaded from another address, and no other site can send requests."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from neurocohort.report import pages
from neurocohort.serving import jobs as states
from neurocohort.serving import uploads
from neurocohort.serving.jobs import Job, Jobs
from neurocohort.serving.uploads import Refused
from neurocohort.serving.worker import About

TEMPLATES = Path(__file__).parent / "templates"
NOT_FOUND, BUSY = 404, 503  # HTTP
UPLOAD_TYPE = "application/octet-stream"
OWN_PAGE = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; "
RESULT = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
)
ALWAYS = "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
HEADERS = {
    "Cache-Control": "no-store",  # no copy of a scan in the browser's cache
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": OWN_PAGE + ALWAYS,
}


def application(jobs: Jobs, about: About, max_mb: float, hosts: list[str]) -> Starlette:
    """The server's application.

    Args:
        jobs: The jobs.
        about: What the page shows of the model.
        max_mb: The limit of an upload and of its voxels, in 10^6 bytes.
        hosts: The names under which it may be asked for; ``*`` for any.
    """
    made = Starlette(
        routes=[
            Route("/", _front),
            Route("/page.js", _own_file("page.js", "text/javascript")),
            Route("/page.css", _own_file("page.css", "text/css")),
            Route("/report.css", _own_file("report.css", "text/css", pages.TEMPLATES)),
            Route("/scans", _upload, methods=["POST"]),
            Route("/scans/{job}", _state, methods=["GET"]),
            Route("/scans/{job}", _delete, methods=["DELETE"]),
            Route("/results/{job}/{path:path}", _result),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
            Middleware(BaseHTTPMiddleware, dispatch=_guarded),
        ],
    )
    made.state.jobs, made.state.about, made.state.max_mb = jobs, about, max_mb
    return made


async def _guarded(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse requests that pages of other addresses send, and set the headers of every response."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        response: Response = _error(uploads.FORBIDDEN, "The request comes from another site.")
    else:
        response = await proceed(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def _front(request: Request) -> Response:
    state = request.app.state
    environment = pages.environment()
    template = environment.from_string((TEMPLATES / "page.html.j2").read_text(encoding="utf-8"))
    return HTMLResponse(
        template.render(about=state.about, max_mb=f"{state.max_mb:g}", kept_minutes=round(states.KEPT_S / 60))
    )


def _own_file(name: str, kind: str, folder: Path = TEMPLATES) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return FileResponse(folder / name, media_type=kind)

    return answer


async def _upload(request: Request) -> Response:
    """Take a scan as the body of the request, with ``name``, ``age`` and ``sex`` in the address."""
    jobs: Jobs = request.app.state.jobs
    max_mb: float = request.app.state.max_mb
    try:
        if request.headers.get("content-type") != UPLOAD_TYPE:  # which pages of other sites can't send unasked
            raise Refused(uploads.WRONG_KIND, f"The upload's content type is not {UPLOAD_TYPE}.")
        name = uploads.safe_name(request.query_params.get("name", ""))
        age = uploads.known_age(request.query_params.get("age", ""))
        sex = _known_sex(request)
        uploads.check_declared_size(request.headers, max_mb)
    except Refused as refused:
        return _refusal(refused)
    job = jobs.new()
    if job is None:
        return _error(BUSY, f"{states.MOST_JOBS} scans are waiting already. Try again when one of them is done.")
    job.age, job.sex, job.scan = age, sex, job.upload / name
    try:
        await uploads.store(request.stream(), job.scan, max_mb)
        await run_in_threadpool(uploads.check_image, job.scan, max_mb)
    except Refused as refused:
        jobs.delete(job)
        return _refusal(refused)
    except ClientDisconnect:
        jobs.delete(job)
        return Response()
    except BaseException:
        jobs.delete(job)
        raise
    jobs.submit(job)
    return JSONResponse({"job": job.name}, 202)


def _refusal(refused: Refused) -> Response:
    """Why an upload is refused. The connection is closed, or the rest of a large upload would still be received."""
    response = _error(refused.status, str(refused))
    response.headers["Connection"] = "close"
    return response


def _known_sex(request: Request) -> str | None:
    sex = request.query_params.get("sex", "")
    expected = request.app.state.about.sexes
    if sex and sex not in expected:
        raise Refused(uploads.WRONG_CONTENT, f"The sex is {sex[:20]!r}; expected {' or '.join(expected)}, or nothing.")
    return sex or None


def _job(request: Request) -> Job | None:
    return request.app.state.jobs.get(request.path_params["job"])


async def _state(request: Request) -> Response:
    job = _job(request)
    if job is None:
        return _error(NOT_FOUND, "The results of this scan are deleted.")
    jobs: Jobs = request.app.state.jobs
    content = {"state": job.state, "step": job.step, "message": job.message, "ahead": jobs.ahead(job)}
    content["seconds"] = round(time.monotonic() - job.since, 1)
    content["done"] = asdict(job.done) if job.done else None
    return JSONResponse(content)


async def _delete(request: Request) -> Response:
    job = _job(request)
    if job is not None:
        await run_in_threadpool(request.app.state.jobs.delete, job)
    return Response(status_code=204)


async def _result(request: Request) -> Response:
    """A file of a job's results."""
    job = _job(request)
    folder = None if job is None else job.output.resolve()
    path = None if folder is None else (folder / request.path_params["path"]).resolve()
    if folder is None or path is None or not path.is_relative_to(folder) or not path.is_file():
        return _error(NOT_FOUND, "There is no such file; the results of this scan may be deleted.")
    return FileResponse(path, headers={"Content-Security-Policy": RESULT + ALWAYS})


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)
