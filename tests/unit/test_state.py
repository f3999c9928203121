import os
from pathlib import Path

import pytest

from dbops.errors import UsageError
from dbops.events import ignore
from dbops.lifecycle import state
from dbops.lifecycle.properties import Properties
from dbops.lock import operator_lock
from dbops.settings import Target

PLAIN = Properties("me", "UTF8", "c", "C", "C", None, None, "pg_default", -1, True, None, None, (), ())
STATE = state.State("7", "kapman_dev", PLAIN)


def test_state_is_read_back_as_it_was_saved(tmp_path):
    state.save(tmp_path, STATE)
    assert state.load(tmp_path, "7", "kapman_dev") == STATE
    state.discard(tmp_path, STATE, ignore)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_save_left_goes_with_the_next(tmp_path, monkeypatch):
    def die(_: int) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", die)
        with pytest.raises(SystemExit):
            state.save(tmp_path, STATE)
    assert len(list(tmp_path.glob("*.part"))) == 1
    state.save(tmp_path, STATE)
    assert list(tmp_path.glob("*.part")) == []


def test_look_at_the_directory_leaves_nothing_in_it(tmp_path):
    state.check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_state_that_cannot_be_removed_is_a_warning(tmp_path, monkeypatch):
    def refuse(_: Path, missing_ok: bool = False) -> None:
        raise PermissionError(1, "no")

    state.save(tmp_path, STATE)
    said = []
    monkeypatch.setattr(Path, "unlink", refuse)
    state.discard(tmp_path, STATE, said.append)
    assert said[0].level == "WARNING"
    assert "out of date" in said[0].text


@pytest.mark.parametrize("parameters", [{"host": "a,b"}, {"hostaddr": "127.0.0.1,127.0.0.2"}])
def test_more_than_one_host_is_refused(parameters):
    with pytest.raises(UsageError, match="more than one host"), operator_lock(Target(parameters, "kapman_dev")):
        pass
