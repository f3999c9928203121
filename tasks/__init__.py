"""The operator's verbs. `invoke --list` shows them, `invoke --help db.rebuild` teaches one."""

from invoke.collection import Collection
from invoke.tasks import Task

from tasks import lifecycle, migrations, proof, server


def _collect(name: str, *modules: object) -> Collection:
    """Return one collection of the tasks in some modules."""
    return Collection(name, *[item for module in modules for item in vars(module).values() if isinstance(item, Task)])


namespace = Collection(_collect("db", lifecycle, migrations, proof), _collect("server", server))
