"""`python -m atoll.cli`, for where the script isn't on the path."""

import sys

from atoll.cli.program import main

sys.exit(main())
