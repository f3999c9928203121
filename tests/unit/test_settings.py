from pathlib import Path
from typing import Any

import pytest

from dbops import settings
from dbops.errors import UsageError

EMBEDDED = settings.Target({"host": "/run/kapman"}, "postgres", embedded=True)


def choose(environ: dict[str, str] | None = None, **flags: Any) -> settings.Target:
    return settings.choose_target(environ or {}, lambda: EMBEDDED, **flags)


def test_without_url_the_embedded_server_and_the_dev_database_are_used() -> None:
    target = choose()
    assert (target.embedded, target.database, target.environment) == (True, "kapman_dev", "dev")
    assert target.parameters["host"] == "/run/kapman"


@pytest.mark.parametrize(
    ("environ", "flag", "expected"),
    [
        ({"ENV": "test"}, None, "kapman_test"),
        ({"ENV": "test", "KAPMAN_ENV": "prod"}, None, "kapman_prod"),
        ({"KAPMAN_ENV": "prod"}, "test", "kapman_test"),
    ],
)
def test_flag_beats_kapman_env_beats_env(environ: dict[str, str], flag: str | None, expected: str) -> None:
    assert choose(environ, env=flag).database == expected


def test_url_flag_beats_database_url() -> None:
    chosen = choose({"DATABASE_URL": "postgresql://h1/one"}, url="postgresql://h2/two")
    assert (chosen.parameters["host"], chosen.database) == ("h2", "two")


def test_embedded_server_is_not_started_when_a_url_is_given() -> None:
    def start() -> settings.Target:
        raise AssertionError("started")

    assert settings.choose_target({"DATABASE_URL": "postgresql://h/one"}, start).database == "one"


def test_environment_file_gives_way_to_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KAPMAN_ENV=prod\nDATABASE_URL='postgresql://h/$x'\n")
    values = settings.read_environ({"KAPMAN_ENV": "test"}, tmp_path)
    assert values == {"KAPMAN_ENV": "test", "DATABASE_URL": "postgresql://h/$x"}


def test_environment_file_in_another_encoding_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"KAPMAN_ENV=\xff\n")
    with pytest.raises(UsageError, match="cannot read the settings file"):
        settings.read_environ({}, tmp_path)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg"])
def test_sqlalchemy_style_urls_are_accepted(scheme: str) -> None:
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
def test_malformed_url_is_an_error_that_shows_no_piece_of_it(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose({"DATABASE_URL": url})
    assert caught.value.where == "DATABASE_URL"
    assert "cret" not in caught.value.render()


def test_url_without_database_name_needs_an_explicit_environment() -> None:
    with pytest.raises(UsageError, match="names no database"):
        choose({"DATABASE_URL": "postgresql://h"})
    assert choose({"DATABASE_URL": "postgresql://h"}, env="test").database == "kapman_test"


def test_unknown_environment_is_refused() -> None:
    with pytest.raises(UsageError, match='unknown environment "staging"'):
        choose(env="staging")


def test_name_that_postgresql_would_cut_is_refused() -> None:
    assert choose(url=f"postgresql://h/{'é' * 31}x").database == "é" * 31 + "x"
    with pytest.raises(UsageError, match="64 bytes"):
        choose(url=f"postgresql://h/{'é' * 32}")


def test_settings_never_show_the_password() -> None:
    chosen = choose({"DATABASE_URL": "postgresql://u:sekret@h/d"})
    assert "sekret" not in repr(chosen) + str(chosen)
    assert chosen.password == "sekret"


@pytest.mark.parametrize("name", ["DATABASE_URL", "KAPMAN_ENV", "ENV", "PGSERVICE"])
def test_empty_variable_is_refused_and_never_means_the_default(name: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://h/d\n" if name == "DATABASE_URL" else "")
    with pytest.raises(UsageError, match=f"{name} is set, but empty") as caught:
        choose(settings.read_environ({name: ""}, tmp_path))
    assert caught.value.where == name


def test_empty_variable_does_not_matter_where_an_option_comes_before_it() -> None:
    chosen = choose({"DATABASE_URL": "", "KAPMAN_ENV": ""}, url="postgresql://h/d", env="test")
    assert (chosen.database, chosen.environment) == ("d", "test")


@pytest.mark.parametrize("option", ["url", "env"])
def test_empty_option_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"--{option} is empty") as caught:
        choose(None, **{option: ""})
    assert caught.value.where == f"--{option}"


BAD_LINES = {
    "unclosed quote": ("A=1\n\nDATABASE_URL='postgresql://h/sekret\nB=2\n", 3),
    "no name": ("=5\n", 1),
    "two words": ("A=1\nDATABASE URL=sekret\n", 2),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_line_of_the_settings_file_that_cannot_be_read_is_named_and_not_shown(name: str, tmp_path: Path) -> None:
    text, line = BAD_LINES[name]
    (tmp_path / ".env").write_text(text)
    with pytest.raises(UsageError) as caught:
        settings.read_environ({}, tmp_path)
    assert caught.value.where == f"{tmp_path}/.env:{line}"
    assert "sekret" not in caught.value.render()


def test_value_of_the_settings_file_that_is_refused_has_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("# ours\n\nKAPMAN_ENV=staging\nDATABASE_URL=\n")
    environ = settings.read_environ({}, tmp_path)
    with pytest.raises(UsageError, match="staging") as caught:
        choose(environ)
    assert caught.value.where == ".env:3"
    with pytest.raises(UsageError, match="DATABASE_URL is set, but empty") as caught:
        choose(environ, env="dev")
    assert caught.value.where == ".env:4"
    with pytest.raises(UsageError, match="live") as caught:
        choose(settings.read_environ({"KAPMAN_ENV": "live"}, tmp_path))
    assert caught.value.where == "KAPMAN_ENV"


def test_settings_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / ".env").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".env").symlink_to("nowhere")
    for directory in ("a", "b"):
        with pytest.raises(UsageError, match="cannot read the settings file") as caught:
            settings.read_environ({}, tmp_path / directory)
        assert caught.value.where == str(tmp_path / directory / ".env")
    assert settings.read_environ({}, tmp_path) == {}


def test_settings_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfKAPMAN_ENV=test\n")
    assert choose(settings.read_environ({}, tmp_path)).database == "kapman_test"


REASONS = {
    "'postgresql://h/d'": "it is in quotes",
    "postgresql://h/d?schema=public": "unknown parameter, schema,",
    "mysql://h/d": "its scheme is not postgresql",
    "postgresql://h:port/d": "its port is not a number",
    "postgresql://h:65536/d": "its port is not a number from 1 to 65535",
    "postgresql://h:5432:1/d": "its port is not a number from 1 to 65535",
    "postgresql://h:0/d": "its port is not a number from 1 to 65535",
    "postgresql://u:p@[::1/d": "an IPv6 address must be in brackets",
    "postgresql://::1/d": "an IPv6 address must be in brackets",
    "postgresql://u:a@b@h/d": "must be percent-encoded",
    "postgresql://u:a%zz@h/d": "% is not followed by two hexadecimal digits",
    "postgresql://h/d?sslmod=require": "unknown parameter \\(perhaps sslmode is meant\\)",
    "postgresql://h/d?zzzzz=1": "unknown parameter$",
    "localhost": "neither a postgresql:// URL nor a list",
}


@pytest.mark.parametrize("url", REASONS)
def test_malformed_url_says_why(url: str) -> None:
    with pytest.raises(UsageError, match=f"malformed: .*{REASONS[url]}") as caught:
        choose(url=url)
    assert caught.value.where == "--url"


@pytest.mark.parametrize("name", ["kapman_scratch_0123456789ab", "kapman_scratch_ffffffffffff"])
def test_name_of_a_scratch_database_is_refused_as_a_target(name: str) -> None:
    assert settings.is_scratch_name(name)
    with pytest.raises(UsageError, match="name for scratch databases"):
        choose({"DATABASE_URL": f"postgresql://h/{name}"})


@pytest.mark.parametrize("name", ["kapman_scratch_", "kapman_scratch_0123456789abc", "kapman_scratch_0123456789AB"])
def test_similar_name_is_not_a_scratch_database(name: str) -> None:
    assert choose(url=f"postgresql://h/{name}").database == name


SERVICES = """
[other]
host=elsewhere

[kapman]
# a comment
host=db.example
port=5433
dbname=trades
user=owner
"""


def services(directory: Path) -> dict[str, str]:
    (directory / "services.conf").write_text(SERVICES)
    return {"PGSERVICEFILE": str(directory / "services.conf"), "HOME": str(directory)}


def test_connection_service_is_a_target(tmp_path: Path) -> None:
    target = choose({**services(tmp_path), "PGSERVICE": "kapman"})
    assert (str(target), target.parameters["user"], target.embedded) == ("trades on db.example:5433", "owner", False)


def test_url_comes_before_the_connection_service_and_may_name_one(tmp_path: Path) -> None:
    environ = {**services(tmp_path), "PGSERVICE": "kapman"}
    assert str(choose(environ, url="postgresql://h/d")) == "d on h:5432"
    assert str(choose(environ, url="postgresql:///mine?service=kapman")) == "mine on db.example:5433"
    assert str(choose(environ, url="service=other", env="test")) == "kapman_test on elsewhere:5432"


def test_first_line_of_a_key_counts_in_a_connection_service_as_for_libpq(tmp_path: Path) -> None:
    environ = services(tmp_path)
    twice = "[twice]\ndbname=first\nhost=one.example\ndbname=second\nhost=two.example\n"
    (tmp_path / "services.conf").write_text(f"{twice}[kapman]\ndbname=third\n")
    assert str(choose({**environ, "PGSERVICE": "twice"})) == "first on one.example:5432"


def test_connection_service_that_is_not_defined_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='service "none" is not defined') as caught:
        choose({**services(tmp_path), "PGSERVICE": "none"})
    assert caught.value.where == "PGSERVICE"


def test_account_without_a_home_directory_can_use_a_named_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    assert str(choose({"DATABASE_URL": "postgresql://h/d"})) == "d on h:5432"


def test_variables_of_libpq_name_the_target_where_no_url_does() -> None:
    target = choose({"PGHOST": "db.example.com", "PGDATABASE": "one", "PGUSER": "u", "PGPORT": "5433"})
    assert (str(target), target.embedded) == ("one on db.example.com:5433", False)
    assert target.source == "PGHOST, PGPORT, PGDATABASE"
    assert target.parameters["user"] == "u"
    with pytest.raises(UsageError, match="PGDATABASE is not set"):
        choose({"PGHOST": "h"})
    assert choose({"PGHOST": "h", "KAPMAN_ENV": "test"}).database == "kapman_test"


def test_variables_of_libpq_fill_in_what_a_url_leaves_open_and_are_shown() -> None:
    environ = {
        "PGHOST": "/tmp/other",
        "PGPORT": "5433",
        "PGSSLMODE": "require",
        "PGAPPNAME": "x",
        "PGOPTIONS": "-c a=b",
    }
    target = choose({**environ, "DATABASE_URL": "postgresql:///kapman_dev"})
    assert target.server == "/tmp/other (port 5433)"
    assert target.parameters["sslmode"] == "require"
    assert not {"application_name", "options"} & target.parameters.keys()
    address = {"PGHOSTADDR": "127.0.0.1", "DATABASE_URL": "postgresql://staging.example.com/kapman_dev"}
    assert choose(address).server == "staging.example.com at 127.0.0.1:5432"
    assert choose({"PGREQUIRESSL": "1"}, url="postgresql://h/d").parameters["sslmode"] == "require"


def test_embedded_server_takes_nothing_from_the_variables_of_libpq() -> None:
    target = choose({"PGUSER": "other", "PGPASSWORD": "s3kret", "PGSSLMODE": "require", "PGCONNECT_TIMEOUT": "1"})
    assert target.embedded
    assert target.parameters == {"host": "/run/kapman", "client_encoding": "UTF8"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h/d?sslmode=verifyfull",
        "host=h dbname=d connect_timeout=soon",
        "host=h dbname=d channel_binding=x",
    ],
)
def test_value_that_libpq_refuses_is_wrong_usage(url: str) -> None:
    with pytest.raises(UsageError, match=r"invalid value for (sslmode|connect_timeout|channel_binding)"):
        choose(url=url)


@pytest.mark.parametrize(
    "url",
    ["postgresql://h/d?sslrootcert=/home/user@corp/ca.pem", "postgresql:///d?host=@abstract", "dbname=d user=a@b"],
)
def test_at_sign_in_the_query_of_a_url_is_no_part_of_a_password(url: str) -> None:
    assert choose(url=url).database == "d"


def test_settings_file_may_use_variables_except_in_single_quotes(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET=p\nDATABASE_URL=postgresql://u:${SECRET}@h/${NAME:-d}\nKAPMAN_ENV='${X}'\n")
    values = settings.read_environ({}, tmp_path)
    assert (values["DATABASE_URL"], values["KAPMAN_ENV"], values.unread) == ("postgresql://u:p@h/d", "${X}", ())
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://u:${SECRET}@h/d\n")
    with pytest.raises(UsageError, match="uses the variable SECRET, which is not set") as caught:
        settings.read_environ({}, tmp_path)
    assert caught.value.where == f"{tmp_path}/.env:1"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"KAPMAN_ENVIRONMENT": "prod"}, "KAPMAN_ENV"),
        ({"KAPMAN_SERVER_DIRECTORY": "/x"}, "KAPMAN_SERVER_DIR"),
        ({"DATABSE_URL": "x"}, "DATABASE_URL"),
        ({"DATABASE_URI": "x", "DATABASE_URL": "x"}, ""),
        ({"KAPMAN_ENVIRONMENT": "prod", "KAPMAN_ENV": "prod"}, ""),
        ({"KAPMAN_API_KEY": "x", "DATABASE_PASSWORD": "x", "DATABASES": "x"}, ""),
    ],
)
def test_variable_of_the_environment_that_is_nearly_a_setting_is_said(
    tmp_path: Path, given: dict[str, str], meant: str
) -> None:
    unread = settings.read_environ(given, tmp_path).unread
    name = next(iter(given))
    assert unread == ((f"the environment: no setting is called {name}: perhaps {meant} is meant",) if meant else ())


def test_name_in_the_settings_file_that_no_setting_has_is_said(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABSE_URL=x\nPGHOST=h\nOTHER=1\nKAPMAN_COMPOSE_PORT=1\n")
    assert settings.read_environ({}, tmp_path).unread == (
        f"{tmp_path}/.env:1: no setting is called DATABSE_URL: perhaps DATABASE_URL is meant",
        f"{tmp_path}/.env:3: no setting is called OTHER",
    )


@pytest.mark.parametrize("value", ["/root/.shrc", "$HOME/.shrc", "~/.shrc"])
def test_start_up_file_of_a_shell_is_no_environment(value: str) -> None:
    assert choose({"ENV": value}).environment == "dev"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("5", 5), ("30s", 30), ("500ms", 0.5), ("2min", 120), ("1.5h", 5400), ("1 min", 60), ("2d", 172800)],
)
def test_time_is_a_number_with_or_without_a_unit(value: str, expected: float) -> None:
    assert settings.seconds("--timeout", value) == expected


@pytest.mark.parametrize("value", ["-1", "soon", "5w", "٣", "9" * 5000])
def test_what_is_no_time_is_wrong_usage(value: str) -> None:
    with pytest.raises(UsageError, match=r"invalid duration|longer than PostgreSQL allows") as caught:
        settings.seconds("--timeout", value)
    assert len(caught.value.what) < 150


@pytest.mark.parametrize("value", ["65536", "-2", "abc", "9" * 5000])
def test_what_is_no_port_is_wrong_usage(value: str) -> None:
    with pytest.raises(UsageError, match="invalid port"):
        settings.port_number("--port", value)


def test_variable_with_a_value_that_libpq_refuses_is_named() -> None:
    with pytest.raises(UsageError, match="invalid value for sslmode") as caught:
        choose({"PGSSLMODE": "verifyfull", "DATABASE_URL": "postgresql://h/d"})
    assert caught.value.where == "PGSSLMODE"
    assert choose({"PGSSLMODE": "verifyfull"}, url="postgresql://h/d?sslmode=require").database == "d"


@pytest.mark.parametrize(
    "parameters",
    [
        {"user": "u@x", "password": "p:/w", "host": "h", "port": "5", "dbname": "d b", "sslmode": "require"},
        {"password": "without a user", "host": "::1", "dbname": "d"},
        {"host": "/run/postgresql", "port": "5433", "dbname": "d"},
        {"host": "a,b", "port": "5,6", "dbname": "d", "target_session_attrs": "primary"},
        {"service": "s", "dbname": ""},
    ],
    ids=str,
)
def test_url_gives_back_the_parameters_that_it_was_made_of(parameters: dict[str, str]) -> None:
    given = {key: value for key, value in parameters.items() if value}
    assert settings.parse_url(settings.url_of(parameters), "--url") == given
    shown = settings.parse_url(settings.url_of(parameters, with_secrets=False), "--url")
    assert shown == {key: value for key, value in given.items() if key != "password"}
