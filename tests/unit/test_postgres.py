import time

import pytest

from dbops.errors import ServerError
from dbops.postgres import attempts, refuse_old


def test_server_that_is_too_old_is_refused_by_its_number() -> None:
    with pytest.raises(ServerError, match="PostgreSQL 14 is not supported: 15 or newer is required"):
        refuse_old(140011, "localhost:5432")
    refuse_old(150000, "localhost:5432")
    refuse_old(180001, "localhost:5432")


def test_wait_tries_once_at_least_and_no_longer_than_its_time() -> None:
    assert len(list(attempts(-1, 60))) == 1
    began = time.monotonic()
    tries = len(list(attempts(0.1, 0.02)))
    assert 2 <= tries <= 7
    assert 0.1 < time.monotonic() - began < 5
