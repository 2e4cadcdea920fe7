"""Start of the server: `python -m leyden.server --home DIR [--port N]`."""

import sys

from leyden.server.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
