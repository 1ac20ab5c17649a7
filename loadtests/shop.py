"""The shop's users, for locust: ``locust -f loadtests/shop.py``, with its web page or ``--headless``.

Locust's own users are closed loops: each waits for its answer, so a slow system is asked less. Here one locust user
begins all visits, each when it is due, so the number of locust users bounds nothing; latencies in locust's page count
from the moments at which requests were due.
"""

import logging
import signal
import sys
from argparse import ArgumentParser

import gevent  # type: ignore[import-untyped]
from locust import LoadTestShape, User, events, task
from locust.env import Environment
from locust.exception import StopUser

from atoll.topology import TopologyError
from loadtests.drills.record import Request
from loadtests.users import keeper
from loadtests.users.cities import NoCities
from loadtests.users.journeys import NothingToDo
from loadtests.users.load import Load
from loadtests.users.options import Options, OptionsError, add_options, read
from loadtests.users.recorder import Recorder, RecorderError

logger = logging.getLogger(__name__)

END_S = 5.0
"""How long a load that is ended early waits for answers."""

REFUSED = (OptionsError, TopologyError, NoCities, NothingToDo, RecorderError, keeper.NotStocked)


class RequestFailed(Exception):
    """In locust's list of failures: the record's word for it."""


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add(parser: ArgumentParser, **_: object) -> None:
    add_options(parser)


@events.init.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Environment, **_: object) -> None:
    """Wrong options end the process before anything is sent. SIGTERM ends a load as its time would.

    Locust hears SIGTERM only when a load with a shape is over, and by then it has killed the process.
    """
    try:
        _options(environment)
    except OptionsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    if _headless(environment):
        gevent.signal_handler(signal.SIGTERM, _shape(environment).end)


class OpenLoop(LoadTestShape):
    """One locust user, until the load is over. Hides locust's own number of users from its page."""

    over = False

    def reset_time(self) -> None:
        """A test begins."""
        super().reset_time()  # type: ignore[no-untyped-call]
        self.over = False

    def end(self) -> None:
        """The load is over, within a second."""
        self.over = True

    def tick(self) -> tuple[int, float] | None:
        return None if self.over else (1, 1.0)


class Shop(User):
    """Begins everybody's visits."""

    host = "http://127.0.0.1:8080"
    load: Load | None = None
    recorder: Recorder | None = None

    @task
    def visits(self) -> None:
        """The whole load, once; locust would call it again."""
        shape = _shape(self.environment)
        try:
            if not shape.over:
                self._open().run()
        except REFUSED as error:
            logger.error("%s", error)  # noqa: TRY400 (it says all that people need)
            self.environment.events.user_error.fire(user_instance=self, exception=error, tb=None)
            if _headless(self.environment):
                self.environment.process_exit_code = 2
        finally:
            shape.end()
        raise StopUser

    def on_stop(self) -> None:
        if self.load is not None:
            self.load.end(END_S)
        if self.recorder is not None:
            self.recorder.close()

    def _open(self) -> Load:
        options = _options(self.environment)
        if options.requests is not None:
            self.recorder = Recorder(options.requests)
        load = Load(options, self._record)
        keeper.open_shop(options.entry, load.shop.services, options.sale_stock)
        self.load = load
        return load

    def _record(self, request: Request) -> None:
        if self.recorder is not None:
            self.recorder(request)
        method, _, path = request.name.partition(" ")
        self.environment.events.request.fire(
            request_type=method,
            name=f"{path} ({request.way})",
            response_time=request.seconds * 1000.0,
            response_length=0,
            exception=RequestFailed(request.error) if request.failed else None,
            context={},
        )


def _headless(environment: Environment) -> bool:
    return environment.parsed_options is not None and bool(environment.parsed_options.headless)


def _shape(environment: Environment) -> OpenLoop:
    shape = environment.shape_class
    assert isinstance(shape, OpenLoop)
    return shape


def _options(environment: Environment) -> Options:
    said = environment.parsed_options
    assert said is not None
    return read({**vars(said), "host": environment.host or Shop.host})
