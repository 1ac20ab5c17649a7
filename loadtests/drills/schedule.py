"""When a drill's load rises and falls: what its file leaves to the form in which it is run."""

from dataclasses import replace

from loadtests.drills.scenario import Drill, Durations, Load, ShapeKind

_WITH_FAULT = frozenset({ShapeKind.SPIKE, ShapeKind.FLASH_SALE, ShapeKind.RAMP})


def scheduled(drill: Drill, durations: Durations) -> Load:
    """The drill's load, with the times of its shape: a spike, a flash sale or a ramp whose file does not say when it
    comes begins with the fault and takes as long. A saw-tooth or a day without a period goes through four in that time.
    """
    shape = drill.load.shape
    if shape.kind in _WITH_FAULT:
        shape = replace(
            shape,
            at_s=durations.steady_s if shape.at_s is None else shape.at_s,
            for_s=durations.fault_s if shape.for_s is None else shape.for_s,
        )
    elif shape.kind in {ShapeKind.SAWTOOTH, ShapeKind.SUN}:
        shape = replace(shape, period_s=durations.fault_s / 4 if shape.period_s is None else shape.period_s)
    return replace(drill.load, shape=shape)
