"""Making, scoring and recording gymnasium environments. Knows nothing of data sets, learners or clusters."""

from envs.actions import Act
from envs.collect import collect, provenance
from envs.episode import RecordedEpisode
from envs.errors import EnvError, EnvFailedError, EnvStalledError
from envs.evaluate import Evaluation, Evaluator, evaluate
from envs.exploration import Exploration, explore
from envs.make import EnvSpec, make
from envs.policies import Actor, ActPolicy, Perturbed, Policy, RandomPolicy
from envs.rollout import Rollout
from envs.scripted import scripted
from envs.vector import make_vector
from envs.watch import Patience, watching

__all__ = [
    "Act",
    "ActPolicy",
    "Actor",
    "EnvError",
    "EnvFailedError",
    "EnvSpec",
    "EnvStalledError",
    "Evaluation",
    "Evaluator",
    "Exploration",
    "Patience",
    "Perturbed",
    "Policy",
    "RandomPolicy",
    "RecordedEpisode",
    "Rollout",
    "collect",
    "evaluate",
    "explore",
    "make",
    "make_vector",
    "provenance",
    "scripted",
    "watching",
]
