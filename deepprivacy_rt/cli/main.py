"""The entry point of ``deepprivacy-rt``: picks the command, and turns every error into one line and an exit code.

Exit codes: 0 all done, 1 a failure (or interrupted), 2 wrong usage or something missing on this machine, 3 some files
of a batch failed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import NoReturn

from deepprivacy_rt import __version__
from deepprivacy_rt.cli.core_dumps import keep_memory_out_of_core_dumps
from deepprivacy_rt.cli.files import one_line
from deepprivacy_rt.cli.interrupt import ended_as_by_ctrl_c
from deepprivacy_rt.errors import DeepPrivacyError, EnvironmentProblem, UsageError

COMMANDS = {
    "anonymize": "replace every face in video files and images by a face of nobody",
    "audit": "check an anonymized file against its original",
    "bench": "measure how fast this machine anonymizes",
    "devices": "list cameras with their modes, and virtual cameras",
    "doctor": "check what this machine has, with the cure for what is missing",
    "evaluate": "measure how good and how safe the generated faces are",
    "identities": "list the faces that --identity can choose, and show them",
    "run": "replace faces in a live picture: camera or stream in, virtual camera, stream or file out",
    "train": "train a face generator",
    "weights": "fetch, list and verify model files",
}
"""Each is a module beside this one, imported when it is called: importing them all would take seconds."""


def program() -> NoReturn:
    """Run the command line of this process, and end it.

    A thread that a signal or an error left in a network is not waited for: Python would unwind it when it comes back
    from there, and C++ aborts at that, or waits for it for ever (until Python 3.14).
    """
    code = main()
    if threading.active_count() == 1:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. ``argv`` is without the program's name."""
    keep_memory_out_of_core_dumps()
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # file names may be no valid text
    command = next((word for word in arguments if not word.startswith("-")), None)
    verbose = "--verbose" in arguments
    try:
        args = _parser(command).parse_args(arguments)
        with ended_as_by_ctrl_c():
            return int(_module(args.command).run(args))
    except (UsageError, EnvironmentProblem) as error:
        return _fail(error, 2, verbose)
    except DeepPrivacyError as error:
        return _fail(error, 1, verbose)
    except KeyboardInterrupt:
        return _fail("interrupted", 1, False)
    except BrokenPipeError:
        return 1
    except ImportError as error:
        cure = "run make in the project, or install the package with its dependencies and libgl1"
        return _fail(f"a library is missing on this machine: {error}; {cure}", 2, verbose)
    except Exception as error:  # a mistake of ours: still one line, and nothing half done is left
        return _fail(f"internal: {type(error).__name__}: {error} (--verbose shows where)", 1, verbose)


def _fail(cause: object, code: int, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    print(f"error: {one_line(cause)}", file=sys.stderr)
    return code


def _module(command: str):  # type: ignore[no-untyped-def]  # a module of this package
    return importlib.import_module(f"deepprivacy_rt.cli.{command}")


def _parser(command: str | None) -> argparse.ArgumentParser:
    """Return the parser, complete for the command that is called; of the others it knows name and purpose."""
    parser = argparse.ArgumentParser(
        prog="deepprivacy-rt", description="Replace faces in video by faces of people who do not exist."
    )
    parser.add_argument("--version", action="version", version=f"deepprivacy-rt {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        if name == command:
            _module(name).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=purpose)
    return parser
