"""The workload programs of the corpus, one function for each family.

A program gets a `Context`, builds what it needs from random numbers, calls `ctx.step()` after each unit of its work and
ends when `ctx.running()` is false. It downloads nothing and reads no file.
"""

import collections
import dataclasses
import importlib

CLASSES = ("idle", "training", "inference_interactive", "inference_batch", "hpc", "render_video", "other")

# In the order in which they run. The first of each mechanism come early, so that a part which is cut short is still broad.
MODULES = ("training", "inference", "hpc", "data", "mining", "render", "burn_in", "idle", "finetuning", "serving", "evasion",
           "evasion_single", "low_precision", "distributed", "sharded")


@dataclasses.dataclass(frozen=True)
class Program:
    family: str
    cls: str
    mechanism: str
    workload: str
    run: object
    parameters: dict
    tiny: dict
    strategy: str = "none"
    span: float = 1.0
    order: int = 50
    devices: int = 1


class Skipped(Exception):
    """A program cannot run here, for a reason that is not its fault: what is missing."""


FAMILIES = collections.OrderedDict()


def program(cls, mechanism, workload, tiny=None, strategy="none", span=1.0, order=50, devices=1, **parameters):
    """Registers a function as the program of the family that has its name.

    `parameters` are its arguments on a GPU, `tiny` those that differ where it is only tried out. `span` is how much longer
    than others it is recorded: what repeats slowly needs more time. `devices` is the fewest that it needs; one that needs two
    takes all there are, a process on each.
    """
    if cls not in CLASSES:
        raise ValueError(f"{cls} is no class")

    def register(run):
        family = run.__name__
        if family in FAMILIES:
            raise ValueError(f"{family} is there twice")
        FAMILIES[family] = Program(
            family, cls, mechanism, workload, run, parameters, {**parameters, **(tiny or {})}, strategy, span, order, devices
        )
        return run

    return register


def described(program):
    """What is said of a program outside its process."""
    keep = ("family", "mechanism", "workload", "strategy", "span", "devices", "parameters")
    return {**{k: getattr(program, k) for k in keep}, "class": program.cls}


def load():
    """Imports every module of programs, and returns the families in the order in which they run."""
    for module in MODULES:
        importlib.import_module(f"{__name__}.{module}")
    return sorted(FAMILIES.values(), key=lambda p: p.order)
