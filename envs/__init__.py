"""Making, scoring and recording gymnasium environments. Knows nothing of data sets, learners or clusters."""

from envs.collect import collect, provenance
from envs.episode import RecordedEpisode
from envs.errors import EnvError
from envs.evaluate import Act, Evaluation, Evaluator, evaluate
from envs.exploration import Exploration, explore
from envs.make import EnvSpec, make
from envs.policies import Actor, ActPolicy, Perturbed, Policy, RandomPolicy
from envs.rollout import Rollout
from envs.scripted import scripted
from envs.vector import make_vector

__all__ = [
    "Act",
    "ActPolicy",
    "Actor",
    "EnvError",
    "EnvSpec",
    "Evaluation",
    "Evaluator",
    "Exploration",
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
]
