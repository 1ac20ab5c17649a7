"""``python -m atoll_gateway --wiring FILE``: one gateway process."""

import argparse
import logging
import random
import sys
from pathlib import Path

import uvloop

from atoll.clock import SystemClock
from atoll.geo.geoip import CityFileError
from atoll.secrets import SecretError
from atoll.telemetry import logs
from atoll.topology import TopologyError
from atoll.topology.wiring import WiringError, read_gateway_wiring
from atoll_gateway.reload import WiringFile
from atoll_gateway.run import ListenError, run
from atoll_gateway.secret import TokenError


def main() -> int:
    """Runs a gateway until it is told to end. Exit status 2: what it was given can't be used; 3: it can't listen."""
    parser = argparse.ArgumentParser(prog="python -m atoll_gateway", description="One Atoll gateway.")
    parser.add_argument("--wiring", type=Path, required=True, help="file that `atoll up` writes for it")
    arguments = parser.parse_args()
    try:
        wiring_file = WiringFile(arguments.wiring)  # before it is read: a change in between is seen
        wiring = read_gateway_wiring(arguments.wiring)
        logs.configure(sys.stderr, "INFO", static={"process": wiring.name})
        logging.getLogger("httpx").setLevel("WARNING")  # else a line for every look at Serve's status
        uvloop.run(run(wiring, SystemClock(), random.Random(), sys.stdout, wiring_file))
    except (WiringError, TopologyError, TokenError, SecretError, CityFileError) as error:
        print(error, file=sys.stderr)
        return 2
    except ListenError as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
