"""Where every setting comes from: options, then environment, then `.env`, then defaults.

Functions take the environment as an argument. What they return is frozen and explicit.
"""

from dbops.settings.environ import Environ, read_environ, server_directory, variable
from dbops.settings.options import (
    ANY_PORT,
    NO_PORT,
    choice,
    duration,
    empty,
    names,
    parse_duration,
    port_number,
    positive_integer,
    seconds,
    shortened,
    version,
    with_unit,
)
from dbops.settings.places import CHECKOUT, CHECKS, MIGRATIONS, ROOT, SCHEMA, checkout, shown_path
from dbops.settings.target import (
    ENVIRONMENTS,
    MAX_NAME_BYTES,
    SCRATCH_PREFIX,
    SYSTEM_DATABASES,
    Target,
    check_database_name,
    choose_target,
    default_database,
    is_scratch_name,
    target_words,
    unused_variables,
)
from dbops.settings.urls import parse_url, url_of
