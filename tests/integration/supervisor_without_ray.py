"""`python -m tests.integration.supervisor_without_ray`: a supervisor whose wardens are `warden_without_ray`."""

import sys

from atoll.cell import run, supervisor

if __name__ == "__main__":
    run.WARDEN = "tests.integration.warden_without_ray"
    sys.exit(supervisor.main())
