"""Run whole processes, interleaved, and keep what they took."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

TAIL = 12
# What takes longer has failed; the slowest, 10,000 files, takes half a minute on an idle machine.
LIMIT_SECONDS = 600


class BenchError(Exception):
    """A command that should have worked failed; the text says which, and the end of its output."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: wall-clock seconds, and the peak memory of the largest process in MB."""

    seconds: float
    megabytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Command:
    """A process to time."""

    arguments: Sequence[str | Path]
    environ: Mapping[str, str]
    directory: Path

    def __call__(self) -> Run:
        """Run it and return what it took; raise BenchError if it fails or takes too long."""
        return self.read()[0]

    def read(self) -> tuple[Run, list[str]]:
        """Run it and return what it took, and the lines that it wrote; raise BenchError as a call does."""
        with tempfile.TemporaryFile() as output:
            began = time.perf_counter()
            process = subprocess.Popen(
                self.arguments,
                cwd=self.directory,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            limit = threading.Timer(LIMIT_SECONDS, os.killpg, [process.pid, signal.SIGKILL])
            limit.start()
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
            finally:
                limit.cancel()
            seconds = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            lines = output.read().decode("utf-8", "replace").splitlines()
            if process.returncode:
                shown = " ".join(str(part) for part in self.arguments[:4])
                ended = f"ended with exit code {process.returncode}"
                if seconds >= LIMIT_SECONDS:
                    ended = f"was ended after {LIMIT_SECONDS} s"
                raise BenchError(f"{shown} … {ended}:\n" + "\n".join(lines[-TAIL:]))
        return Run(seconds, usage.ru_maxrss / 1024), lines


@dataclass(frozen=True, slots=True)
class Row:
    """One job and each contender's runs; ratios are against `base`, the least that the job takes.

    `notes` are other figures; `failed` gives the reason for each contender that failed.
    """

    key: str
    job: str
    runs: Mapping[str, Sequence[Run]]
    base: str = ""
    notes: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def median(self, contender: str) -> float:
        """Return the median of a contender's runs, in seconds."""
        return statistics.median(run.seconds for run in self.runs[contender])

    def ratio(self, contender: str) -> float | None:
        """Return a contender's median as a multiple of the base's, or None where there is no base."""
        if self.base not in self.runs or contender not in self.runs:
            return None
        return self.median(contender) / self.median(self.base)


Contender = Callable[[], Run]


def measure(
    key: str, job: str, contenders: Mapping[str, Contender], rounds: int, *, base: str = "", warm: bool = True
) -> Row:
    """Run all contenders `rounds` times in turn and return what each took; `warm` runs each once before, uncounted.

    A contender that fails or takes too long is out, and named as failed: the others go on.
    """
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    failed: dict[str, str] = {}
    for number in range(rounds + warm):
        for name, contender in contenders.items():
            if name in failed:
                continue
            try:
                run = contender()
            except (BenchError, psycopg.Error) as error:
                say(f"{job}: {name} failed: {error}")
                failed[name] = str(error)
                continue
            if number >= warm:
                runs[name].append(run)
    return Row(key, job, {name: done for name, done in runs.items() if name not in failed}, base, failed=failed)


def say(text: str) -> None:
    """Tell the reader how far things are."""
    print(text, file=sys.stderr, flush=True)
