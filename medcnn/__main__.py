"""``python -m medcnn`` is the command ``medcnn``."""

import sys

from medcnn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
