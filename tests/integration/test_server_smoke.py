from dbops import postgres


def test_target_database_is_empty_and_reachable(empty):
    with postgres.connect(empty) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (empty.database,)
