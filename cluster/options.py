"""What a run is told, in parts: what decides its result, what decides its speed, and what it reports.

Each part is one dataclass, and that is all there is of it: `config.json` holds its fields, the command line has an
option for each (its help is the docstring), and `metadata.quiver` in a cluster's file has the topology's keys.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, Any

from cluster import ranges
from cluster.errors import RunError
from cluster.limiter import SamplesToInserts, gradient_steps
from cluster.schedule import Schedule
from cluster.settings import (
    ADDRESS,
    DEVICE,
    EXPRESSION,
    NAME,
    PATH,
    VECTORIZATION,
    CheckedSettings,
    Flag,
    check_settings,
)
from replay.ranges import Range

HIDDEN = Flag(shown=False)


@dataclass(frozen=True)
class Recipe:
    """Everything the result depends on. Two runs with equal recipes on one kind of machine end bit-identical,
    whatever their topology."""

    datasets: Annotated[
        tuple[tuple[str, float | None], ...], ranges.DATASETS, Flag(name="dataset", metavar="DATASET[=WEIGHT]")
    ]
    """A dataset folder to learn from; give the option again for each further one. Weights are relative shares of every
    batch: all datasets have one, or none has, and then each transition counts alike."""
    algorithm: Annotated[str, NAME, Flag(name="algo", metavar="NAME")]
    """The algorithm. Its knobs are options, too: add --help to see them."""
    knobs: Annotated[dict[str, Any], HIDDEN] = field(default_factory=dict)
    steps: ranges.Steps = 100_000
    """Gradient steps to train for."""
    seed: ranges.Seed = 0
    """The seed of everything random."""
    batch_size: ranges.BatchSize = 256
    """Transitions of one gradient step, over all learners."""
    split: Annotated[str, NAME] = "train"
    """Which episodes to train on: train, validation, all, or a name that the dataset has."""
    where: Annotated[str | None, EXPRESSION, Flag(metavar="EXPR")] = None
    """Only episodes for which this holds are trained on, such as "return > 100 and success == 1"."""
    fused: Annotated[bool, HIDDEN] = False
    """The learner computes its own targets: no updaters."""
    chunk_steps: ranges.ChunkSteps = 8
    """K: how many gradient steps are labelled with one version of the weights."""
    depth: ranges.Depth = 2
    """D: with updaters, chunk c is labelled with the weights of chunk c - D."""
    label_reuse: ranges.LabelReuse = 1
    """With updaters, in how many gradient steps each labelled row takes part, on average."""
    priority_exponent: ranges.PriorityExponent = 0.0
    """Above 0, transitions are sampled by their temporal-difference error to this power."""
    importance_exponent: ranges.ImportanceExponent = 0.4
    """How far importance weights make up for prioritised sampling: 0 not at all, 1 fully."""
    shards_per_draw: Annotated[ranges.ShardsPerDraw, Flag(metavar="N")] = None
    """At most so many shards serve one batch; this is for large clusters, and part of the result."""
    imagine_every: Annotated[ranges.ImagineEvery, HIDDEN] = None
    """Gradient steps from one imagination to the next, the first before step 0, where the algorithm has a model."""
    imagine_starts: Annotated[ranges.ImagineStarts, HIDDEN] = None
    """Logged transitions of whose states each imagination makes new ones."""
    imagined_capacity: Annotated[ranges.ImaginedCapacity, HIDDEN] = None
    """Imagined transitions kept: the oldest go first."""
    imagined_share: Annotated[ranges.ImaginedShare, HIDDEN] = None
    """Of imagined transitions in each batch: over many batches exactly this."""
    device: Annotated[str, DEVICE, Flag(metavar="auto|cpu|cuda")] = "cpu"
    """Where every role computes. With cpu no role asks for a GPU, with cuda learners and updaters do, and auto does as
    the --config says; where it says nothing, it takes this machine's GPU if there is one, and the CPU of a cluster."""
    compile: bool = False
    """Compile the training step with torch.compile: slow to start, then faster."""
    threads: ranges.Threads = 1
    """How many threads each process computes with."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.chunk_steps % self.label_reuse:
            raise RunError(
                f"--label-reuse: {self.label_reuse} does not divide --chunk-steps {self.chunk_steps}; "
                "choose a multiple of it for --chunk-steps."
            )
        if self.fused and self.label_reuse > 1:
            raise RunError("--label-reuse: a fused run has no labels to reuse; add --updaters 1 or more.")
        self._check_imagining()

    def _check_imagining(self) -> None:
        every, share = self.imagine_every, self.imagined_share
        for name in ("imagine_starts", "imagined_capacity", "imagined_share"):
            option, given = f"--{name.replace('_', '-')}", getattr(self, name)
            if every is None and given is not None:
                raise RunError(
                    f"{option}: found {given}, but nothing is imagined without --imagine-every; leave it out."
                )
            if every is not None and given is None:
                raise RunError(f"{option}: not given, expected with --imagine-every {every}; give it.")
        if every is None or share is None:
            return
        if every % self.chunk_steps:
            raise RunError(f"--imagine-every: found {every}, expected a multiple of --chunk-steps {self.chunk_steps}.")
        if not self.fused or self.priority_exponent > 0:
            raise RunError(
                "--imagine-every: expected a fused run without --priority-exponent: the learner, which holds what was "
                "imagined, computes the labels."
            )
        if math.ceil(share * self.batch_size) >= self.batch_size:
            raise RunError(
                f"--imagined-share: {share:g} of --batch-size {self.batch_size} leaves no logged transitions; lower it."
            )

    @property
    def schedule(self) -> Schedule:
        """Which steps, draws and weights each chunk takes."""
        return Schedule(self.steps, self.chunk_steps, self.depth, self.label_reuse, self.imagine_every or 0)

    def imagined_rows(self, step: int) -> int:
        """How many of a step's rows are imagined."""
        from replay.mixing import fresh_count  # help asks for no rows, and does without what it imports

        return fresh_count(self.imagined_share or 0.0, step, self.batch_size)

    def logged_rows(self, step: int) -> int:
        """How many of a step's rows are drawn from the logs."""
        return self.batch_size - self.imagined_rows(step)


@dataclass(frozen=True)
class OnlineRecipe:
    """What a fine-tuning run's result depends on besides: how much is gathered, how, and in what share."""

    env_steps: Annotated[ranges.Steps, Flag(metavar="N")]
    """Environment steps to gather and to keep."""
    share: Annotated[ranges.ShareOrNone, Flag(metavar="P|all", words=(("all", None),))] = None
    """The share of fresh transitions in each batch. With all, every transition, logged or fresh, is equally likely."""
    final_share: Annotated[ranges.ShareOrNone, Flag(metavar="P")] = None
    """The share moves to this one, along a line, over the run."""
    updates_per_step: Annotated[ranges.UpdatesPerStep, Flag(metavar="U")] = 1.0
    """Gradient steps for each environment step."""
    learning_starts: ranges.StepsOrNone = 0
    """Environment steps that are stored before the first gradient step; they are worth none."""
    slack: Annotated[ranges.Slack, Flag(metavar="N")] = None
    """Environment steps by which learning and interaction may run apart before one waits for the other; by default,
    twice the least that works."""
    stochastic: bool = True
    """Runners draw actions from the policy, instead of taking its mode."""
    noise: ranges.Noise = 0.0
    """Standard deviation of Gaussian noise on the runners' actions, in halves of the action's range."""
    random_probability: ranges.Share = 0.0
    """The share of uniformly random actions."""
    envs_per_runner: ranges.EnvironmentsPerRunner = 1
    """Environments that each runner steps together."""
    vectorization: Annotated[str, VECTORIZATION, Flag(metavar="sync|async|native")] = "sync"
    """Environments are stepped in the runner's process, in a process each, or as the vector environment that the id is
    registered with."""
    rollout_steps: ranges.RolloutSteps = 50
    """Steps of each environment between two looks at newer weights."""
    capacity: Annotated[ranges.StepsOrAll, Flag(metavar="N")] = None
    """Fresh transitions that are sampled from at most; the oldest episodes go first. All of them stay on the disk."""
    max_age: Annotated[ranges.StepsOrAll, Flag(metavar="N")] = None
    """Environment steps after which an episode is no longer sampled from."""
    min_return: Annotated[ranges.Return, Flag(metavar="R")] = None
    """Episodes of a lower return are not sampled from."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.final_share is not None and self.share is None:
            raise RunError("--final-share: needs a --share to begin with; found all.")
        if self.learning_starts >= self.env_steps:
            raise RunError(
                f"--learning-starts: found {self.learning_starts}, but the run ends after {self.env_steps} environment "
                "steps (--env-steps): nothing would be learned."
            )
        steps = gradient_steps(self.env_steps, self.learning_starts, self.updates_per_step)
        if not 1 <= steps <= ranges.MOST_STEPS:
            raise RunError(
                f"--updates-per-step: {self.updates_per_step:g} for each of {self.env_steps - self.learning_starts:,} "
                f"environment steps make {steps:,} gradient steps, expected 1 to {ranges.MOST_STEPS:g}; change it, or "
                "--env-steps."
            )

    def limiter(self, chunk_steps: int, runners: int) -> SamplesToInserts:
        """Raises `RunError` for bounds that could stop the run."""
        if not 1 <= runners <= ranges.MOST_ACTORS:
            raise RunError(
                f"--runners: found {runners}, expected 1 to {ranges.MOST_ACTORS:,}: nobody else gathers fresh data."
            )
        rollout = runners * self.envs_per_runner * self.rollout_steps
        least = (chunk_steps / self.updates_per_step + rollout) / 2
        limiter = SamplesToInserts(
            self.updates_per_step, self.learning_starts, 2 * least if self.slack is None else self.slack
        )
        limiter.check(chunk_steps, rollout)
        return limiter


@dataclass(frozen=True)
class Role:
    """How many actors of a role, and what each is given."""

    count: ranges.Actors = 1
    num_cpus: ranges.Amount = 1.0
    num_gpus: ranges.Amount = 0.0
    resources: Annotated[dict[str, float], Range(0, ranges.MOST_RESOURCES)] = field(default_factory=dict)
    """Custom Ray resources, to pin a role to a kind of node."""

    def __post_init__(self) -> None:
        check_settings(self, str)
        for name, amount in {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, **self.resources}.items():
            if 0.0 < amount < ranges.LEAST_SHARE:
                raise RunError(
                    f"{name}: found {amount:g}, expected 0, or at least {ranges.LEAST_SHARE:g}, which is what Ray "
                    "counts in."
                )


@dataclass(frozen=True)
class Topology:
    """Who runs where. It changes speed, never results."""

    serial: bool = False
    """Everything happens in this process, without Ray: the same result, easier to debug."""
    address: Annotated[str | None, ADDRESS, Flag(metavar="ADDRESS")] = None
    """A running Ray cluster to join: auto, or its address. Without it, Ray starts on this machine."""
    replay_shards: Annotated[Role, ranges.SOME_ACTORS, Flag(name="shards")] = Role(count=1, num_cpus=0.5)
    """Replay shard actors, which hold the data."""
    bellman_updaters: Annotated[
        Role, ranges.ANY_ACTORS, Flag(name="updaters", metavar="N|auto", words=(("auto", "auto"),))
    ] = Role(count=0)
    """Bellman updaters, which label batches with targets. With 0 the learner does it; auto takes what processors are
    left."""
    learners: Annotated[Role, ranges.SOME_ACTORS] = Role(count=1)
    """Learners, each of which computes on its part of every batch."""
    evaluators: Annotated[Role, ranges.ANY_ACTORS] = Role(count=1, num_cpus=0.5)
    """Evaluators: with several, that many evaluations run side by side. With 0 nothing is evaluated."""
    env_runners: Annotated[Role, ranges.SOME_ACTORS, Flag(name="runners")] = Role(count=1, num_cpus=0.5)
    """Environment runners, which gather fresh data."""
    online_writers: Annotated[Role, HIDDEN] = Role(count=1, num_cpus=0.1)
    """Of fine-tuning only."""
    stage: Annotated[str | None, PATH, Flag(metavar="DIR")] = None
    """A folder on each node's own disk to which shards are copied, and verified, first."""
    allow_mixed: bool = False
    """Accept updaters on another kind of processor than the learner's, and a run that goes on on another kind of
    machine than it began on: results then differ in the last bits."""
    max_restarts: ranges.Restarts = 3
    """How often a learner that died is started again from the last checkpoint."""
    late_chunk_seconds: ranges.Seconds = 30.0
    """A chunk of labels later than this, and than three times the median, is asked of a second updater, too."""
    env_timeout: Annotated[ranges.EnvTimeout, Flag(metavar="SECONDS")] = 600.0
    """How long one call of an environment, such as a step, may take; with 0, for ever. A call that takes longer counts
    as failed. After a minute a note says where it hangs."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.serial and self.learners.count > 1:
            raise RunError("--learners: several learners are several processes; leave out --serial.")
        if self.replay_shards.count < 1 or self.learners.count < 1:
            raise RunError("--shards and --learners: expected at least 1 of each.")


@dataclass(frozen=True)
class Cadence(CheckedSettings):
    """When a run reports and saves, in gradient steps; each falls on the next chunk boundary. Never changes results."""

    log_every: ranges.StepsOrNone = 500
    """Record training metrics every so many steps."""
    validate_every: ranges.StepsOrNone = 1_000
    """Record losses on the validation episodes, and values on a fixed probe, every so many steps."""
    checkpoint_every: ranges.StepsOrNone = 10_000
    """Save every so many steps."""
    keep: ranges.Keep = 3
    """Newest checkpoints to keep; the best one is always kept."""
    eval_every: ranges.StepsOrNone = 0
    """Evaluate every so many steps; with 0, before the first and after the last step only."""
    eval_episodes: ranges.EpisodesOrNone = 20
    """Episodes of each evaluation; 0 leaves evaluation out."""
    eval_stochastic: bool = False
    """Evaluations draw actions from the policy instead of taking its mode."""


def as_json(record: Any) -> dict[str, Any]:
    """A frozen options dataclass as plain JSON types."""
    return dataclasses.asdict(record)
