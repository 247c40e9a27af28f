"""Run the development Kubernetes: ``python -m raftsman.executor.sandbox``."""

import sys

from raftsman.executor.sandbox.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
