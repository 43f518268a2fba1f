"""A folder is a registry: one file per implementation, found by its name.

Adding `datasets/x.py` or `engines/x.py` is all it takes to make `x` available. Nothing is
imported before it is asked for, so a broken or heavy plug-in costs nobody else anything.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from sintese.errors import UnknownNameError


def available(package: str) -> tuple[str, ...]:
    """Return the names that `get` answers to in `package`, sorted; imports none of them."""
    parent = importlib.import_module(package)
    names = (module.name for module in pkgutil.iter_modules(parent.__path__))
    return tuple(sorted(name for name in names if not name.startswith("_")))


def get(package: str, name: str, *, kind: str) -> ModuleType:
    """Import and return the module `name` of `package`.

    Args:
        package: dotted name of the folder, such as `sintese.datasets`.
        name: the file's name without `.py`.
        kind: what to call it in an error message, such as `dataset`.

    Raises:
        UnknownNameError: there is no such file; the message lists those there are.
    """
    names = available(package)
    if name not in names:
        raise UnknownNameError(kind, name, names)
    return importlib.import_module(f"{package}.{name}")
