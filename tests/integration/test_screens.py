"""The screens in docs/screens show what the tool prints now."""

from __future__ import annotations

import pytest

from tests.support.screens import DIRECTORY, emulated, steady, take

pytestmark = pytest.mark.slow

CODES = {"rebuild": 0, "consent": 0, "migration-error": 4, "verify": 1, "drift": 1}


def test_screens_are_current() -> None:
    screens = take()
    assert {screen.name: screen.exit_code for screen in screens} == CODES
    for screen in screens:
        for suffix, content in ((".txt", screen.text()), (".svg", screen.svg())):
            committed = (DIRECTORY / f"{screen.name}{suffix}").read_text(encoding="utf-8")
            assert steady(content) == steady(committed), "run `nox -s screens` and commit docs/screens"


def test_screens_fit_80_columns_and_load_nothing() -> None:
    for name in CODES:
        assert max(map(len, (DIRECTORY / f"{name}.txt").read_text(encoding="utf-8").splitlines())) <= 80
        picture = (DIRECTORY / f"{name}.svg").read_text(encoding="utf-8")
        assert "url(http" not in picture
        assert "@font-face" not in picture


def test_emulated_terminal_keeps_what_is_not_erased() -> None:
    assert emulated("one\r\n  \x1b[32mtwo\x1b[0m\r\n\x1b[1A\x1b[2K\rthree\r\n") == ["one", "three"]
