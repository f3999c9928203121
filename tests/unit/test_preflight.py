import pytest
from dbops.preflight.server import is_supported


@pytest.mark.parametrize(
    ("version", "supported"),
    [("2.9.3", False), ("2.10.0", True), ("2.19.3", True), ("2.20.0-dev", True), ("3.0.0", False), ("1.7.5", False)],
)
def test_version_of_timescaledb_is_supported_or_not(version, supported):
    assert is_supported(version) is supported
