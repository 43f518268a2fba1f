"""`python -m benchmarks [NAME]…` runs the named benchmarks, or all of them."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks


def main(names: list[str]) -> int:
    """Run benchmarks and print their tables; an unknown name ends with 2."""
    known = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name != "__main__"]
    if unknown := [name for name in names if name not in known]:
        print(f"error: no benchmark {unknown[0]!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    print(benchmarks.machine())
    for name in names or known:
        print(f"\n## {name}\n\n{importlib.import_module(f'benchmarks.{name}').run()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
