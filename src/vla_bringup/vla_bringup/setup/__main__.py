"""`python -m vla_bringup.setup ROOT`: set the checkout up, say in one sentence what is wrong when it can't be."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vla_bringup.setup.prepare import prepare
from vla_core.errors import SetupError


def main() -> int:
    """Exit status: 0 ready, 1 not (the sentence went to standard error)."""
    root = Path(sys.argv[1]).resolve()
    try:
        prepare(root, os.environ)
    except SetupError as error:
        print(f"ERROR {error.code}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up interrupted; start again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
