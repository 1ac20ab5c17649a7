"""``python -m loadtests.drills.whole_set``: every drill, one table. What ``make drills`` does.

Uses the run of this folder if there is one, for the drills of its topology; else starts one for each topology that a
drill needs, and ends it. Exit status: 0 all passed, 1 one failed, 4 one was inconclusive or aborted and none failed.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from atoll.cell.client import SupervisorClient
from atoll.cell.facts import is_locked
from atoll.cell.paths import RunPaths
from atoll.cli import output
from atoll.cli import run as running
from atoll.cli.exits import CommandError, Exit
from loadtests.drills.command import Options, drills, hold, keep
from loadtests.drills.document import DrillError
from loadtests.drills.lock import DrillRunning, drill_lock
from loadtests.drills.report import DrillDocument
from loadtests.drills.scenario import Drill
from loadtests.drills.target import connect_local
from loadtests.drills.verdict import Outcome

TOPOLOGIES = Path("infra/topologies")


@dataclass(frozen=True, slots=True)
class Held:
    """One drill of the set."""

    drill: str
    outcome: Outcome | None
    """None: it could not be held."""
    reason: str
    seconds: float
    without: str = ""
    """The mechanism that was off: a control, which is as it should be if the drill is red."""

    @property
    def verdict(self) -> str:
        """In words."""
        if self.outcome is None:
            return "not held"
        if not self.without:
            return self.outcome.value
        return {Outcome.PASSED: "not noticed", Outcome.FAILED: "caught"}.get(self.outcome, self.outcome.value)

    @property
    def status(self) -> Exit:
        """What it would end with if it were alone."""
        if self.outcome is None:
            return Exit.FAILED
        good, bad = (Outcome.FAILED, Outcome.PASSED) if self.without else (Outcome.PASSED, Outcome.FAILED)
        return {good: Exit.SUCCESS, bad: Exit.FAILED_VERDICT}.get(self.outcome, Exit.INCONCLUSIVE)


def worst(held: Iterable[Held]) -> Exit:
    """The exit status of the set. Pure."""
    statuses = {one.status for one in held}
    for status in (Exit.FAILED_VERDICT, Exit.FAILED, Exit.INCONCLUSIVE):
        if status in statuses:
            return status
    return Exit.SUCCESS


def outcome_of(document: DrillDocument) -> Outcome:
    """Of a control: a drill that called itself off because too much failed is as red as one that came to its end."""
    found = document.verdict
    spent = any(one.limit and one.held is False for one in found.expectations)
    return (
        Outcome.FAILED
        if document.setting.without and found.outcome is Outcome.ABORTED and spent
        else found.outcome
    )


@contextmanager
def _run_of(topology: str, paths: RunPaths) -> Iterator[None]:
    """A run of this topology, ended afterwards if it did not run before."""
    if is_locked(paths):
        yield
        return
    try:
        _atoll("up", "--detach", "--topology", str(TOPOLOGIES / f"{topology}.toml"))
        yield
    finally:
        _atoll("down")


def _atoll(*arguments: str) -> None:
    # A session of its own: Ctrl-C is for this process, which heals and then ends the run.
    done = subprocess.run(
        [sys.executable, "-m", "atoll.cli", *arguments], check=False, start_new_session=True
    )
    if done.returncode != 0:
        raise CommandError(f"`atoll {' '.join(arguments)}` ended with status {done.returncode}")


async def _one(drill: Drill, options: Options, paths: RunPaths) -> Held:
    began = time.monotonic()
    target = await connect_local(SupervisorClient(paths))
    try:
        document = await hold(drill, options, target)
    except CommandError as error:
        outcome = Outcome.INCONCLUSIVE if error.status is Exit.INCONCLUSIVE else None
        return Held(drill.name, outcome, str(error), time.monotonic() - began, options.without)
    if document is None:
        raise KeyboardInterrupt
    keep(document, None, options.out)
    reason = document.verdict.reasons[0] if document.verdict.reasons else ""
    return Held(drill.name, outcome_of(document), reason, time.monotonic() - began, options.without)


def _running(paths: RunPaths) -> str | None:
    return running.status().topology if is_locked(paths) else None


def hold_all(names: list[str], options: Options, *, controls: bool = False) -> Exit:
    """Holds them, topology by topology, and prints the table. With `controls` each is held without the mechanism that
    it proves, and has to be red. Raises `CommandError`.
    """
    paths = running.here()
    try:
        known = drills()
    except DrillError as error:
        raise CommandError(str(error), Exit.USAGE) from error
    if unknown := [name for name in names if name not in known]:
        raise CommandError(f"there is no drill {unknown[0]!r}; there are: {', '.join(known)}", Exit.USAGE)
    wanted = [known[name] for name in names or known if known[name].proves or not controls]
    there = _running(paths)
    held: list[Held] = []
    try:
        for topology in dict.fromkeys(drill.topology for drill in wanted):
            if there is not None and topology != there:
                continue
            with _run_of(topology, paths), drill_lock(paths):
                held.extend(
                    asyncio.run(_one(drill, _control(drill, options) if controls else options, paths))
                    for drill in wanted
                    if drill.topology == topology
                )
    except DrillRunning as error:
        raise CommandError(str(error)) from error
    finally:
        _print(held, [drill for drill in wanted if drill.name not in {one.drill for one in held}])
    return worst(held)


def _control(drill: Drill, options: Options) -> Options:
    return replace(options, without=drill.proves, out=options.out / "controls")


def _print(held: Iterable[Held], left_out: Iterable[Drill]) -> None:
    table = output.table("Drill", "Verdict", "Took", "Why", right=("Took",))
    for one in held:
        name = f"{one.drill} without {one.without}" if one.without else one.drill
        table.add_row(name, one.verdict, f"{one.seconds:.0f} s", one.reason)
    for drill in left_out:
        table.add_row(drill.name, "left out", "-", f"needs the topology {drill.topology}, or was not reached")
    output.console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.drills.whole_set", description=__doc__)
    parser.add_argument("drills", nargs="*", metavar="NAME", help="these alone")
    parser.add_argument("--short", action="store_true", help="the short forms")
    parser.add_argument(
        "--controls", action="store_true", help="each without the mechanism that it proves: it has to be red"
    )
    parser.add_argument("--rate", type=float, help="visits a second instead of the files'")
    parser.add_argument("--out", type=Path, default=Options().out)
    arguments = parser.parse_args()
    options = Options(short=arguments.short, rate=arguments.rate, out=arguments.out)
    try:
        with running.foreseen():
            return hold_all(arguments.drills, options, controls=arguments.controls)
    except CommandError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.status
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
