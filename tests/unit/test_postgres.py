import pytest

from dbops.errors import ServerError
from dbops.postgres import refuse_old


def test_server_that_is_too_old_is_refused_by_its_number() -> None:
    with pytest.raises(ServerError, match="PostgreSQL 14 is not supported: 15 or newer is required"):
        refuse_old(140011, "localhost:5432")
    refuse_old(150000, "localhost:5432")
    refuse_old(180001, "localhost:5432")
