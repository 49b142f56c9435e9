"""`quiver train`: options that do not fit, or not together."""

from __future__ import annotations

from pathlib import Path

from tests.bad_inputs.rows import Material, Prepare, Row, table

_TRAIN = "train --dataset {data} --algo bc --run new --serial --steps 2 --hidden 8 --batch-size 4"


def _file(name: str) -> Prepare:
    def prepare(folder: Path, material: Material) -> None:
        (folder / name).write_text("x")

    return prepare


def _folder(folder: Path, material: Material) -> None:
    (folder / "full").mkdir()
    (folder / "full" / "notes.txt").write_text("mine")


def _link(folder: Path, material: Material) -> None:
    (folder / "link").symlink_to("link")


ROWS: list[Row] = [
    *table(
        _TRAIN,
        # what it is called
        ("an unknown algorithm", "--algo bcc", r"found 'bcc', expected one of .*Did you mean 'bc'"),
        ("an algorithm of no letters", "--algo ''", r"algorithm|--algo"),
        ("a run without a name", "--run ''", r"--run"),
        ("a run in a file", "--run file", r"file", _file("file")),
        ("a run below a file", "--run file/run", r"file", _file("file")),
        ("a run in a link that leads to itself", "--run link", r"link", _link),
        ("a run with a NUL in its name", "--run 'a\0b'", r"--run|run"),
        ("a run with a name too long", f"--run {'x' * 300}", r"--run|x{50}|[Nn]ame too long"),
        ("a run that is there", "--run {run}", r"--resume"),
        # datasets
        ("no dataset there", "--dataset nowhere", r"nowhere.*dataset"),
        ("a dataset without a name", "--dataset ''", r"--dataset|dataset\.json"),
        ("a weight of text", "--dataset {data}=much", r"--dataset .*weight"),
        ("a weight of zero", "--dataset {data}=0", r"--dataset .*weight"),
        ("a weight below zero", "--dataset {data}=-1", r"--dataset .*weight"),
        ("a weight of NaN", "--dataset {data}=nan", r"--dataset .*weight"),
        ("a weight without end", "--dataset {data}=inf", r"--dataset .*weight"),
        ("a weight in another script", "--dataset {data}=²", r"--dataset .*weight"),
        ("only one has a weight", "--dataset {data}=1", r"--dataset: some have a weight"),
        # which episodes
        ("a split that is not there", "--split nosuch", r"split.*nosuch|nosuch.*split"),
        ("no split", "--split ''", r"split"),
        ("an expression of nothing", "--where ''", r"where"),
        ("an expression that is none", "--where 'return >'", r"where: cannot read"),
        ("an expression without a column", "--where '1 < 2'", r"where: .*names no column"),
        ("a name that is no column", "--where 'reward > 1'", r"where: .*reward"),
        ("a call", "--where 'exit()'", r"where"),
        ("a lambda", "--where '(lambda: 1)()'", r"where"),
        ("a list of lists", "--where 'return in [[1]]'", r"where"),
        ("a list compared", "--where 'return == [1, 2]'", r"where"),
        ("text compared with a number", "--where 'return > \"x\"'", r"where"),
        ("a number that is text", "--where 'task == 3'", r"where"),
        ("text in a number", "--where '\"x\" in return'", r"where"),
        ("no episode for which it holds", "--where 'return > 1e9'", r"where|no episode"),
        ("parentheses without end", f"--where '{'(' * 500}return{')' * 500}'", r"where"),
        ("minus signs without end", f"--where 'return < {'-' * 20_000}1'", r"where"),
        ("not without end", f"--where '{'not ' * 20_000} return'", r"where"),
        ("a number of 5,000 digits", f"--where 'return < {'9' * 5_000}'", r"where"),
        ("a NUL", "--where 'return > 1\0'", r"where"),
        ("half a character", "--where 'task == \"\udc80\"'", r"where"),
        # what does not go together
        ("updaters for a method that has no targets", "--algo bc --updaters 2", r"updaters|targets"),
        ("updaters in another script", "--updaters ²", r"--updaters"),
        ("updaters of text", "--updaters many", r"--updaters: found 'many'"),
        ("updaters below zero", "--updaters=-1", r"--updaters"),
        ("label reuse that does not divide", "--algo iql --updaters 1 --label-reuse 3", r"--label-reuse"),
        ("label reuse without updaters", "--algo iql --label-reuse 2", r"--label-reuse"),
        ("learners in one process", "--learners 2", r"--learners"),
        ("environment arguments without an environment", "--env-kwargs '{{}}'", r"--env-kwargs: goes with --env"),
        ("reset options without an environment", "--reset-options '{{}}'", r"--reset-options: goes with --env"),
        ("an observation key without an environment", "--observation-key x", r"--observation-key: goes with --env"),
        ("resume-from without resume", "--resume-from step-4", r"--resume-from step-4: goes with --resume"),
        ("resume where nothing is", "--resume", r"new"),
        # the environment
        ("no such environment", "--env Pendulum-v9", r"Pendulum-v9"),
        ("an environment of no letters", "--env ''", r"--env|environment"),
        ("a module that is not there", "--env nosuch:Name-v0", r"nosuch"),
        ("arguments that are no JSON", "--env Pendulum-v1 --env-kwargs '{{'", r"--env-kwargs: found '\{\{?'"),
        ("arguments that are a list", "--env Pendulum-v1 --env-kwargs '[]'", r"--env-kwargs: .*JSON object"),
        ("arguments that it has not", "--env Pendulum-v1 --env-kwargs '{{\"x\": 1}}'", r"Pendulum-v1.*x"),
        ("an argument of another type", "--env Pendulum-v1 --env-kwargs '{{\"g\": []}}'", r"Pendulum-v1"),
        ("arguments of absurd depth", f"--env Pendulum-v1 --env-kwargs '{'[' * 100_000}'", r"--env-kwargs"),
        ("an argument of NaN", "--env Pendulum-v1 --env-kwargs '{{\"g\": NaN}}'", r"--env-kwargs|Pendulum-v1"),
        ("a step limit of zero", "--env Pendulum-v1 --env-kwargs '{{\"max_episode_steps\": 0}}'", r"max_episode_steps"),
        (
            "a step limit of text",
            '--env Pendulum-v1 --env-kwargs \'{{"max_episode_steps": "x"}}\'',
            r"max_episode_steps",
        ),
        ("reset options that are text", "--env Pendulum-v1 --reset-options '\"x\"'", r"--reset-options: .*JSON object"),
        ("an environment of another shape", "--env CartPole-v1", r"CartPole-v1"),
        ("an observation key of no dictionary", "--env Pendulum-v1 --observation-key x", r"observation"),
        # where it runs
        ("a device that is none", "--device tpu", r"--device.*tpu"),
        ("a device of no letters", "--device ''", r"--device"),
        ("a device by number that is not there", "--device cuda:99", r"--device|cuda"),
        ("no such config", "--config nowhere.yaml", r"nowhere\.yaml.*--config"),
        ("a config that is a folder", "--config full", r"full", _folder),
        ("a step that is no number", "--resume-from x", r"--resume-from"),
        # knobs
        ("a width of zero", "--hidden 0", r"hidden"),
        ("a width that fits no memory", "--hidden 1000000000", r"hidden"),
        ("many wide layers", f"--hidden {'65536 ' * 64}", r"hidden|memory|MiB|GiB"),
        ("a batch that fits no memory", "--batch-size 1000000000000", r"--batch-size"),
        ("threads by the million", "--threads 1000000", r"--threads"),
        ("a seed beyond its type", "--seed 9223372036854775808", r"--seed"),
        ("a knob of another algorithm", "--expectile 0.7", r"--expectile"),
        ("an encoder that is none", "--encoder third", r"encoder"),
        ("a chunk longer than anything", "--chunk-steps 1000000000000", r"--chunk-steps"),
        ("a depth without end", "--depth 1000000000000", r"--depth"),
    )
]
