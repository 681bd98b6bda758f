"""The command line: one subcommand for each rule, in the modules of this folder.

Imports are inside the subcommands, so that each starts as fast as possible, and the code hash of a rule covers only the
modules behind its own subcommand.
"""

import contextlib
import os
import sys

# The last bits of sums depend on the number of threads. Parallelism is over jobs; training sets its own threads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[_name] = "1"

from neurocohort.cli import (  # noqa: E402
    bids_app,  # noqa: F401
    data,  # noqa: F401
    few_labels,  # noqa: F401
    generation,  # noqa: F401
    handover,  # noqa: F401
    interpretation,  # noqa: F401
    learning,  # noqa: F401
    longitudinal,  # noqa: F401
    machines,  # noqa: F401
    models,  # noqa: F401
    raw_scans,  # noqa: F401
    results,  # noqa: F401
    translation,  # noqa: F401
)
from neurocohort.cli.app import app  # noqa: E402
from neurocohort.errors import READING_TOO, STORAGE_REASONS, InputError, JobFailed, StorageFailed, storage_reason  # noqa: E402


def main() -> None:
    """Run the command line. An error that the user can fix ends with one sentence instead of a traceback."""
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        _show_where_snakemake_runs(f"error in {sys.argv[1]}: {error}\n")
        sys.exit(2)
    except JobFailed as error:
        _end_by_failure(error)
    except OSError as error:
        if not (reason := storage_reason(error)):
            raise
        failed = "read or written" if error.errno in READING_TOO else "written"
        _end_by_failure(StorageFailed(error.filename2 or error.filename or "its log or another file", reason, failed))


def _end_by_failure(error: JobFailed) -> None:
    """End this process with status 1: the job is tried again. Errors of a disk are also shown on the terminal, since the log may
    be on that disk."""
    with contextlib.suppress(OSError):
        print(f"failed: {error}", file=sys.stderr, flush=True)
    of_disk = isinstance(error, StorageFailed) or any(reason in str(error) for reason in STORAGE_REASONS.values())
    if of_disk:  # a batch quotes the errors of its scans
        _show_where_snakemake_runs(f"{sys.argv[1]} failed: {error}\n")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(1) if of_disk else sys.exit(1)  # sys.exit would fail on a log that can't be flushed


def _show_where_snakemake_runs(message: str) -> None:
    """Write to the descriptor that the rules open for messages, since their standard error goes to their log."""
    descriptor = os.environ.get("NEUROCOHORT_MESSAGES", "")
    if descriptor:
        with contextlib.suppress(OSError, ValueError):
            os.write(int(descriptor), message.encode(errors="backslashreplace"))
