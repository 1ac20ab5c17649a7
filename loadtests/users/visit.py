"""One visit: a journey, walked over the network by one user.

Every step has a moment at which it is due: the first one when the user meant to come, each further one a pause after
the answer before it. Its latency counts from then, however late it is sent. So the load is partly open (Schroeder,
Wierman and Harchol-Balter, "Open Versus Closed: A Cautionary Tale", NSDI 2006): visits begin whatever happens, and
within a visit people wait for their answers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from atoll.clock import Clock
from loadtests.drills.record import Request, Way
from loadtests.users.client import Connection, NoAnswer, Response
from loadtests.users.journeys import Journey, Outcome, Step, Visitor
from loadtests.users.steering import Gateway, Unsteered

ON_ITS_WAY_S = 1.0
"""After a request's time is over, its gateway's word of that is waited for: it tells what became of the request."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How users behave."""

    think_s: float
    """Mean pause between an answer and the next step, exponentially distributed."""
    patience_s: float
    """How long they wait for an answer, if they set no time-out."""
    timeout_s: float | None = None
    """How long a request may take: gateways are told so (``Atoll-Timeout``). None: as long as its service lets it."""
    retries: int = 0
    """How often they send again, at once, what failed: more load when there is too much already."""
    fallback: bool = False
    """Whether they go to the next gateway that steering named when the first refuses the connection."""

    @property
    def waits_s(self) -> float:
        """After so long without an answer they give up."""
        return self.patience_s if self.timeout_s is None else self.timeout_s + ON_ITS_WAY_S


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a user stands."""

    address: str
    """Which gateways take for the user's own."""
    way: Way
    gateways: Callable[[], Sequence[Gateway]]
    """Where to go now, best first. Raises `Unsteered`."""
    round_trips: Mapping[str, float]
    """Seconds to each region."""


class Visit:
    """A visit. `record` gets every request as soon as it has ended."""

    def __init__(
        self,
        visitor: Visitor,
        surroundings: Surroundings,
        manners: Manners,
        record: Callable[[Request], None],
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._visitor = visitor
        self._at = surroundings
        self._manners = manners
        self._record = record
        self._clock = clock
        self._sleep = sleep
        self._connection: Connection | None = None
        self._cookies: dict[bytes, bytes] = {}
        self.asking = False
        """Whether an answer is being waited for."""
        self.leaving = False
        """Set it, and there is no further step."""

    def run(self, journey: Journey, due_s: float) -> None:
        """Does everything; returns when the user has left."""
        try:
            step = next(journey)
            while not self.leaving:
                outcome, ended_s = self._ask(step, due_s)
                step = journey.send(outcome)
                due_s = ended_s + self._pause()
                self._sleep(max(0.0, due_s - self._clock.monotonic()))
        except StopIteration:
            pass
        finally:
            self._hang_up()

    def _pause(self) -> float:
        mean_s = self._manners.think_s
        return self._visitor.rng.expovariate(1.0 / mean_s) if mean_s > 0.0 else 0.0

    def _ask(self, step: Step, due_s: float) -> tuple[Outcome, float]:
        """Asks until it succeeds, or the user gives up. Returns the last outcome, and when it came."""
        tries = 0
        while True:
            tries += 1
            outcome, ended_s = self._try(step, due_s, tries)
            if not outcome.failed or tries > self._manners.retries or self.leaving:
                return outcome, ended_s
            due_s = ended_s

    def _try(self, step: Step, due_s: float, tries: int) -> tuple[Outcome, float]:
        sent_s = self._clock.monotonic()
        self.asking = True
        response: Response | None = None
        error = "unfinished"
        try:
            response = self._answer(step, sent_s)
            error = _error(response, step) or (step.wrong(response.json()) if response.status < 400 else "")
        except NoAnswer as failure:
            error = failure.word
        except Unsteered:
            error = "unsteered"
        finally:
            # Also when the load ends in the middle of it: what was sent is told of.
            ended_s = self._clock.monotonic()
            self.asking = False
            self._record(self._request(step, (due_s, sent_s, ended_s), response, error, tries))
        return Outcome(bool(error), None if response is None else response.json()), ended_s

    def _answer(self, step: Step, sent_s: float) -> Response:
        end_s = sent_s + self._manners.waits_s
        gateway, *others = self._at.gateways()
        while True:
            try:
                return self._through(gateway, step, end_s)
            except NoAnswer as failure:
                if failure.word != "refused" or not others or not self._manners.fallback:
                    raise
            gateway = others.pop(0)

    def _through(self, gateway: Gateway, step: Step, end_s: float) -> Response:
        """Over the network to a gateway and back: half of a round trip each, and one more to connect."""
        if self._connection is None or self._connection.origin != gateway.origin:
            self._hang_up()
            self._connection = Connection(gateway.origin)
        trip_s = self._trip(gateway.region)
        self._sleep(trip_s * (0.5 if self._connection.open else 1.5))
        response = None
        try:
            response = self._connection.ask(self._head(step, gateway), end_s - self._clock.monotonic())
        finally:
            self._sleep(self._way_back(trip_s, response))
        self._keep_cookies(response)
        return response

    def _way_back(self, trip_s: float, response: Response | None) -> float:
        """An entry stands where the user stands, as steering would have it: the way to the region behind it is the
        user's own. Which region that was is known when it has answered.
        """
        if response is not None and self._at.way is Way.ENTRY:
            return max(0.0, self._trip(_region(response), trip_s) - trip_s / 2)
        return trip_s / 2

    def _trip(self, region: str, default_s: float | None = None) -> float:
        nearest_s = min(self._at.round_trips.values()) if default_s is None else default_s
        return self._at.round_trips.get(region, nearest_s)

    def _head(self, step: Step, gateway: Gateway) -> bytes:
        lines = [
            f"{step.method} {step.path} HTTP/1.1",
            f"host: {gateway.origin.authority}",
            f"x-forwarded-for: {self._at.address}",
            "accept: application/json",
            "user-agent: atoll-users",
        ]
        if step.criticality != "default":
            lines.append(f"atoll-criticality: {step.criticality}")
        if self._manners.timeout_s is not None:
            lines.append(f"atoll-timeout: {max(1, round(self._manners.timeout_s * 1000.0))}ms")
        if step.key:
            lines.append(f'idempotency-key: "{step.key}"')
        if step.body:
            lines += ("content-type: application/json", f"content-length: {len(step.body)}")
        head = "\r\n".join(lines).encode()
        if self._cookies:
            head += b"\r\ncookie: " + b"; ".join(b"%b=%b" % pair for pair in self._cookies.items())
        return head + b"\r\n\r\n" + step.body

    def _keep_cookies(self, response: Response) -> None:
        """As a browser with one site, whose cookies are for all of it and for this visit."""
        for cookie in response.cookies:
            name, _, value = cookie.partition(b";")[0].partition(b"=")
            self._cookies[name.strip()] = value.strip()

    def _request(
        self,
        step: Step,
        times: tuple[float, float, float],
        response: Response | None,
        error: str,
        tries: int,
    ) -> Request:
        due_s, sent_s, ended_s = times
        return Request(
            due_s=due_s,
            sent_s=sent_s,
            ended_s=ended_s,
            name=f"{step.method} {step.name}",
            service=step.service,
            country=self._visitor.city.country,
            way=self._at.way,
            status=None if response is None else response.status,
            error=error,
            region="" if response is None else _region(response),
            attempts=0 if response is None else _attempts(response),
            replayable=step.replayable,
            key=step.key,
            tries=tries,
            criticality=step.criticality,
            write=step.write,
        )

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _region(response: Response) -> str:
    return response.headers.get(b"atoll-region", b"").decode("latin-1")


def _attempts(response: Response) -> int:
    told = response.headers.get(b"atoll-attempts", b"")
    return int(told) if told.isdigit() else 0


def _error(response: Response, step: Step) -> str:
    """A word for what is wrong with an answer: the last part of the problem's type, or the status."""
    if response.status < 400:
        return ""
    word = str(response.status)
    if response.headers.get(b"content-type", b"").startswith(b"application/problem+json"):
        match response.json():
            case {"type": str(kind)}:
                word = kind.replace("/", ":").rpartition(":")[2] or word
    return "" if word in step.expected else word
