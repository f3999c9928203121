"""Each verb whose client is killed lets go, and each verb under which the server is restarted ends and says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import failures, servers
from tests.support.servers import TestServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mortal() -> Iterator[TestServer]:
    with servers.throwaway_server() as made:
        yield made


@pytest.mark.parametrize("verb", failures.VERBS)
def test_verb_lets_go_when_it_is_killed_and_ends_with_exit_code_3_when_the_server_restarts(
    mortal: TestServer, verb: str
) -> None:
    assert failures.killed(mortal, verb) < 10
    code, printed = failures.restarted(mortal, verb)
    assert code == 3, printed
    assert "`invoke db.wait`" in printed
