"""Making, scoring and recording gymnasium environments. Knows nothing of data sets, learners or clusters."""

from envs.collect import RecordedEpisode, collect, provenance
from envs.errors import EnvError
from envs.evaluate import Act, Evaluation, Evaluator, evaluate
from envs.make import EnvSpec, make
from envs.policies import Actor, ActPolicy, Perturbed, Policy, RandomPolicy
from envs.scripted import scripted

__all__ = [
    "Act",
    "ActPolicy",
    "Actor",
    "EnvError",
    "EnvSpec",
    "Evaluation",
    "Evaluator",
    "Perturbed",
    "Policy",
    "RandomPolicy",
    "RecordedEpisode",
    "collect",
    "evaluate",
    "make",
    "provenance",
    "scripted",
]
