from pathlib import Path

import pytest

from dbops import settings
from dbops.errors import UsageError

EMBEDDED = "postgresql:///?host=/run/kapman"


def load(environ=None, **flags):
    return settings.load(environ or {}, lambda: EMBEDDED, **flags)


def test_without_url_the_embedded_server_and_the_dev_database_are_used():
    target = load().target
    assert (target.embedded, target.database, target.environment) == (True, "kapman_dev", "dev")
    assert target.parameters["host"] == "/run/kapman"


@pytest.mark.parametrize(
    ("environ", "flag", "expected"),
    [
        ({"ENV": "test"}, "", "kapman_test"),
        ({"ENV": "test", "KAPMAN_ENV": "prod"}, "", "kapman_prod"),
        ({"KAPMAN_ENV": "prod"}, "test", "kapman_test"),
    ],
)
def test_flag_beats_kapman_env_beats_env(environ, flag, expected):
    assert load(environ, env=flag).target.database == expected


def test_url_flag_beats_database_url():
    loaded = load({"DATABASE_URL": "postgresql://h1/one"}, url="postgresql://h2/two")
    assert (loaded.target.parameters["host"], loaded.target.database) == ("h2", "two")


def test_embedded_server_is_not_started_when_a_url_is_given():
    def start():
        raise AssertionError("started")

    assert settings.load({"DATABASE_URL": "postgresql://h/one"}, start).target.database == "one"


def test_environment_file_gives_way_to_the_environment(tmp_path: Path):
    (tmp_path / ".env").write_text("KAPMAN_ENV=prod\nDATABASE_URL='postgresql://h/$x'\n")
    values = settings.read_environ({"KAPMAN_ENV": "test"}, tmp_path)
    assert values == {"KAPMAN_ENV": "test", "DATABASE_URL": "postgresql://h/$x"}


def test_environment_file_in_another_encoding_is_a_usage_error(tmp_path: Path):
    (tmp_path / ".env").write_bytes(b"KAPMAN_ENV=\xff\n")
    with pytest.raises(UsageError, match="cannot read the settings file"):
        settings.read_environ({}, tmp_path)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg"])
def test_sqlalchemy_style_urls_are_accepted(scheme):
    assert settings.parse_url(f"{scheme}://u:p%40ss@h:5433/d", "x") == {
        "user": "u",
        "password": "p@ss",
        "host": "h",
        "port": "5433",
        "dbname": "d",
    }


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/d",
        "postgresql://h:port/d",
        "postgresql://u:se/cret@h/d",
        "postgresql://u:se@cret@h/d",
        "postgresql://u:se?cret@h/d",
        "postgresql://u:se#cret@h/d",
        "postgresql://u:se%cret@h/d",
        "postgresql://u:cret@h/d?cret=1",
        "cret",
        "host=",
    ],
)
def test_malformed_url_is_an_error_that_shows_no_piece_of_it(url):
    with pytest.raises(UsageError) as caught:
        load({"DATABASE_URL": url})
    assert caught.value.where == "DATABASE_URL"
    assert "cret" not in caught.value.render()


def test_url_without_database_name_needs_an_explicit_environment():
    with pytest.raises(UsageError, match="names no database"):
        load({"DATABASE_URL": "postgresql://h"})
    assert load({"DATABASE_URL": "postgresql://h"}, env="test").target.database == "kapman_test"


def test_unknown_environment_is_refused():
    with pytest.raises(UsageError, match='unknown environment "staging"'):
        load(env="staging")


def test_name_that_postgresql_would_cut_is_refused():
    assert load(url=f"postgresql://h/{'é' * 31}x").target.database == "é" * 31 + "x"
    with pytest.raises(UsageError, match="64 bytes"):
        load(url=f"postgresql://h/{'é' * 32}")


def test_settings_never_show_the_password():
    loaded = load({"DATABASE_URL": "postgresql://u:sekret@h/d"})
    assert "sekret" not in repr(loaded) + str(loaded.target)
    assert loaded.target.password == "sekret"


def test_empty_variable_counts_as_not_set(tmp_path: Path):
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://h/d\n")
    assert settings.read_environ({"DATABASE_URL": ""}, tmp_path) == {"DATABASE_URL": "postgresql://h/d"}


def test_account_without_home_is_told_what_to_set(monkeypatch):
    def no_home():
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(UsageError, match="no home directory") as caught:
        load({"DATABASE_URL": "postgresql://h/d"})
    assert "KAPMAN_STATE_DIR" in caught.value.hint
    assert load({"DATABASE_URL": "postgresql://h/d", "KAPMAN_STATE_DIR": "/s"}).state == Path("/s")
