"""`ray_config.yaml`: what Quiver reads in it, and what it refuses. That Ray takes the same file: `test_deploy.py`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import RunError
from cluster.options import Role, Topology
from cluster.topology import parse_topology, read_topology

SHIPPED = Path(__file__).parents[2] / "ray_config.yaml"


def test_the_shipped_file_reads():
    topology = read_topology(SHIPPED)
    assert topology.replay_shards == Role(count=4, num_cpus=1, num_gpus=0, resources={"replay": 1})
    assert topology.bellman_updaters == Role(count=8, num_cpus=1, num_gpus=0.125, resources={"updater": 1})
    assert topology.learners.num_gpus == 1
    assert not topology.serial
    assert topology.stage is None


def test_an_empty_section_is_the_default_topology():
    assert parse_topology({}, "f") == Topology()


def test_what_a_role_leaves_out_keeps_its_default():
    topology = parse_topology({"roles": {"replay_shards": {"count": 3}}}, "f")
    assert topology.replay_shards == Role(count=3, num_cpus=Topology().replay_shards.num_cpus)
    assert topology.learners == Topology().learners


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"roles": {"learners": {"num_gpu": 1}}},
            "f: metadata.quiver.roles.learners.num_gpu: unknown; did you mean num_gpus?",
        ),
        ({"roles": {"learner": {}}}, "f: metadata.quiver.roles.learner: unknown; did you mean learners?"),
        ({"stages": "x"}, "f: metadata.quiver.stages: unknown; did you mean stage?"),
        (
            {"zebra": 1},
            "f: metadata.quiver.zebra: unknown; expected one of "
            "roles, address, stage, allow_mixed, max_restarts, late_chunk_seconds, env_timeout.",
        ),
        (
            {"roles": {"bellman_updaters": {"count": "two"}}},
            "f: metadata.quiver.roles.bellman_updaters.count: found 'two', expected a whole number, 0 to 10,000.",
        ),
        (
            {"roles": {"bellman_updaters": {"count": -1}}},
            "f: metadata.quiver.roles.bellman_updaters.count: found -1, expected a whole number, 0 to 10,000.",
        ),
        ({"roles": {"learners": {"count": 0}}}, "f: metadata.quiver.roles.learners.count: found 0"),
        ({"roles": 3}, "f: metadata.quiver.roles: found 3, expected keys with values below it."),
        ([], r"f: metadata.quiver: found \[\], expected keys"),
        (
            {"roles": {"learners": {"resources": {"arm": "one"}}}},
            "f: metadata.quiver.roles.learners.resources.arm: found 'one', expected a number, 0 to 1,000,000.",
        ),
        ({"allow_mixed": "yes please"}, "f: metadata.quiver.allow_mixed: found 'yes please'"),
        (
            {"roles": {"online_writers": {"count": 2}}},
            r"f: metadata.quiver.roles.online_writers.count: found 2, expected 1: .* Leave out the key\.",
        ),
        ({"roles": {"online_writers": {"count": 0}}}, "f: metadata.quiver.roles.online_writers.count: found 0"),
        (
            {"roles": {"replay_shards": {"num_gpus": 0.5}}},
            r"f: metadata.quiver.roles.replay_shards.num_gpus: found 0.5, .* Leave it out\.",
        ),
        *(
            (
                {"roles": {"evaluators": {key: value}}},
                f"f: metadata.quiver.roles.evaluators.{key}: found {found}, expected .*",
            )
            for key, value, found in (
                ("count", 10_001, "10001"),
                ("count", 1.0, "1.0"),
                ("count", True, "True"),
                ("count", 10**5_000, "a value of type int that cannot be shown .*"),
                ("num_cpus", -1, "-1"),
                ("num_cpus", float("nan"), "nan"),
                ("num_cpus", float("inf"), "inf"),
                ("num_cpus", 1e300, "1e\\+300"),
                ("num_cpus", 1e-9, "1e-09"),
                ("num_gpus", 1.5, "1.5"),
                ("num_gpus", "1", "'1'"),
            )
        ),
        *(
            (
                {"roles": {"evaluators": {"resources": {name: amount}}}},
                f"f: metadata.quiver.roles.evaluators.resources.{name}: found {found}, expected .*",
            )
            for name, amount, found in (
                ("arm", -1, "-1"),
                ("arm", float("nan"), "nan"),
                ("arm", 1e300, "1e\\+300"),
                ("GPU", 1, "'GPU'"),
                ("memory", 1, "'memory'"),
                ("bundle", 1, "'bundle'"),
            )
        ),
        # Ray's own code would abort the driver.
        ({"roles": {"evaluators": {"resources": {"": 1}}}}, "f: metadata.quiver.roles.evaluators.resources: found ''"),
    ],
)
def test_what_does_not_fit_is_named_by_its_key(section: Any, message: str):
    with pytest.raises(RunError, match=f"^{message}".replace("?", r"\?")):
        parse_topology(section, "f")


def test_every_mistake_is_told_at_once():
    with pytest.raises(RunError) as caught:
        parse_topology({"stages": "x", "roles": {"learners": {"num_gpu": 1}}}, "f")
    assert [line.split(":")[1].strip() for line in str(caught.value).splitlines()] == [
        "metadata.quiver.stages",
        "metadata.quiver.roles.learners.num_gpu",
    ]


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(RunError, match=r"absent.yaml: cannot be read \(No such file"):
        read_topology(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metadata: [", "is no YAML"),
        ("cluster_name: x", "has no metadata.quiver"),
        ("metadata: {quiver: }", "has no metadata.quiver"),
        ("- 1", "has no metadata.quiver"),
        (f"metadata: {'9' * 5_000}", "is no YAML"),
        ("[" * 1_000, "is no YAML"),
        ("metadata: {quiver: {stage: a, stage: b}}", r"metadata.quiver \(line 1\): 'stage' is given twice"),
        ("metadata: &a {quiver: {roles: *a}}", r"metadata.quiver.roles \(line 1\): stands in itself, by an alias"),
        (
            "metadata: {quiver: {roles: " + "[" * 70 + "]" * 70 + "}}",
            r"metadata.quiver.roles \(line 1\): found more than 64 levels",
        ),
        # What a reader would make a thousand million of.
        (
            "a0: &a0 [x]\n"
            + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(9))
            + "metadata: {quiver: {roles: *a9}}",
            r"metadata.quiver.roles \(line 6\): found more than 100,000 values, with what its aliases repeat",
        ),
        ("metadata: {quiver: {stage: !!python/object/apply:os.getcwd []}}", "is no YAML of plain values"),
        ("metadata: {quiver: {stage: 2020-13-45}}", "is no YAML of plain values"),
        ("metadata: {quiver: {allow_mixed: !!bool maybe}}", "is no YAML of plain values"),
        ("metadata: {quiver: {stage: !!timestamp x}}", "is no YAML of plain values"),
        ("metadata: {quiver: {stage: 2020-01-01}}", "metadata.quiver.stage: found datetime.date.*expected text"),
        ("metadata: {quiver: {stage: ''}}", "metadata.quiver.stage: found '', expected a path"),
        ("metadata: {quiver: {address: ''}}", "metadata.quiver.address: found '', expected HOST:PORT"),
        ("metadata: {quiver: {1: 2}}", "metadata.quiver.1: unknown; expected one of roles"),
        (
            "metadata: {quiver: {max_restarts: 1000001}}",
            "max_restarts: found 1000001, expected a whole number, 0 to 1,000,000",
        ),
        ("metadata: {quiver: {late_chunk_seconds: .nan}}", "late_chunk_seconds: found nan"),
        ("# " + "x" * 200_000, "found 200002 bytes, expected at most 131072"),
    ],
)
def test_a_file_that_says_nothing_to_us(tmp_path: Path, text: str, message: str):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(RunError, match=message):
        read_topology(tmp_path / "c.yaml")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("kind", "message"), [("pipe", "a pipe"), ("device", "a device"), ("folder", "a folder")])
def test_the_file_is_a_regular_one(tmp_path: Path, kind: str, message: str):
    path = {"pipe": tmp_path / "pipe", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(RunError, match=f"--config .*: found {message}, expected a regular file"):
        read_topology(path)


def test_a_persons_own_file_may_be_a_link_and_in_any_utf(tmp_path: Path):
    (tmp_path / "far.yaml").write_text("metadata: {quiver: {stage: /é}}", "utf-16")
    (tmp_path / "near.yaml").symlink_to("far.yaml")
    assert read_topology(tmp_path / "near.yaml").stage == "/é"
