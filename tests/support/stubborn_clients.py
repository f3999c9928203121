"""Clients that keep reconnecting: run by tests in a process of its own, so that they don't slow the operator down.

Reads a pause and an address from stdin, says a word once all are connected, and when told to stop, how often they
entered.
"""

from __future__ import annotations

import contextlib
import sys
import threading

import psycopg

THREADS = 8


def main() -> None:
    pause, address = float(sys.stdin.readline()), sys.stdin.readline().strip()
    stop, first = threading.Event(), threading.Barrier(THREADS + 1)
    entered = [0] * THREADS

    def loop(number: int) -> None:
        while not stop.is_set():
            with contextlib.suppress(psycopg.Error), psycopg.connect(address, autocommit=True) as connection:
                entered[number] += 1
                if entered[number] == 1:
                    first.wait()
                while not stop.wait(0.01):
                    connection.execute("SELECT 1")
            # A pause between two attempts leaves a small machine time for the rebuild itself.
            stop.wait(pause)

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    first.wait()
    sys.stdout.write("all are in\n")
    sys.stdout.flush()
    sys.stdin.readline()
    stop.set()
    for thread in threads:
        thread.join()
    sys.stdout.write(f"{sum(entered)}\n")


if __name__ == "__main__":
    main()
