"""Run whole processes, interleaved, and keep what they took."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TAIL = 12


class BenchError(Exception):
    """A command that should have worked failed; the text says which, and the end of its output."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: wall-clock seconds, and the peak memory of the largest process in MB."""

    seconds: float
    megabytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Command:
    """A process to time, and what to do before it without timing it."""

    arguments: Sequence[str | Path]
    environ: Mapping[str, str]
    directory: Path
    before: Callable[[], object] = lambda: None

    def __call__(self) -> Run:
        """Run it and return what it took; raise BenchError with the end of its output if it fails."""
        self.before()
        with tempfile.TemporaryFile() as output:
            began = time.perf_counter()
            process = subprocess.Popen(
                self.arguments,
                cwd=self.directory,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                output.seek(0)
                lines = output.read().decode("utf-8", "replace").splitlines()[-TAIL:]
                shown = " ".join(str(part) for part in self.arguments[:4])
                raise BenchError(f"{shown} … ended with exit code {process.returncode}:\n" + "\n".join(lines))
        return Run(seconds, usage.ru_maxrss / 1024)


@dataclass(frozen=True, slots=True)
class Series:
    """The runs of one contender."""

    seconds: tuple[float, ...]
    megabytes: float = 0.0

    @property
    def median(self) -> float:
        """Return the median, in seconds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True, slots=True)
class Row:
    """One job and who did it; ratios are against `base`, the least that the job takes; `notes` are other figures."""

    key: str
    job: str
    series: Mapping[str, Series]
    base: str = ""
    notes: Mapping[str, float] | None = None

    def ratio(self, contender: str) -> float | None:
        """Return a contender's median as a multiple of the base's, or None where there is no base."""
        if self.base not in self.series or contender not in self.series:
            return None
        return self.series[contender].median / self.series[self.base].median


Contender = Callable[[], Run]


def interleave(contenders: Mapping[str, Contender], rounds: int, *, optional: Sequence[str] = ()) -> dict[str, Series]:
    """Run all contenders once without counting, then `rounds` times in turn, and return what each took.

    A contender that fails is an error, unless it is one of the optional ones: then it is left out, with a word on why.
    """
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            if name not in runs:
                continue
            try:
                run = contender()
            except BenchError as error:
                if name not in optional:
                    raise
                say(f"{name} is left out: {error}")
                del runs[name]
                continue
            if number:
                runs[name].append(run)
    return {
        name: Series(tuple(run.seconds for run in done), max(run.megabytes for run in done))
        for name, done in runs.items()
    }


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def say(text: str) -> None:
    """Tell the reader how far things are."""
    print(text, file=sys.stderr, flush=True)
