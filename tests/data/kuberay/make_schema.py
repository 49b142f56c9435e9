"""Makes `schema.json` beside this file from KubeRay's resource definitions: what a RayCluster and a RayJob may contain.

    git clone --depth 1 --branch v1.7.0 <KubeRay's repository> kuberay
    python tests/data/kuberay/make_schema.py kuberay/ray-operator/config/crd/bases

Facts only: names of fields, their types, which are required, and which values they take. Kubernetes drops a field that
it does not know without a word; here such a field is refused, so that a misspelt one is found. What stands in many
places stands once, under `$defs`.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

KINDS = {"RayCluster": "ray.io_rayclusters.yaml", "RayJob": "ray.io_rayjobs.yaml"}
KEPT = ("enum", "pattern", "minimum", "minLength", "maxLength", "minItems")
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
# The API server knows `metadata` itself, and definitions leave it empty.
METADATA = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": STRINGS,
        "annotations": STRINGS,
    },
    "additionalProperties": False,
}
SHARED_FROM = 80
"""Characters from which on a part that is there twice is worth a name."""


def structural(node: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of what an OpenAPI v3 structural schema says, unknown fields refused."""
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"], **{key: node[key] for key in KEPT if key in node}}
    kind = node.get("type")
    found: dict[str, Any] = {} if kind is None else {"type": [kind, "null"] if node.get("nullable") else kind}
    found |= {key: node[key] for key in (*KEPT, "required") if key in node}
    if "items" in node:
        found["items"] = structural(node["items"])
    if "properties" in node:
        found["properties"] = {name: structural(value) for name, value in node["properties"].items()}
    if isinstance(node.get("additionalProperties"), dict):
        found["additionalProperties"] = structural(node["additionalProperties"])
    elif kind == "object" and not node.get("x-kubernetes-preserve-unknown-fields"):
        found["additionalProperties"] = False
    return found


def shared(schemas: dict[str, Any]) -> dict[str, Any]:
    """The same schemas with every larger part that they repeat named once, under `$defs`."""
    counts: Counter[str] = Counter()

    def count(node: Any) -> None:
        if isinstance(node, dict):
            text = text_of(node)
            counts[text] += 1
            if counts[text] > 1:
                return  # Its parts stand once, inside the definition that it will be.
        for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            count(part)

    count(schemas)
    names: dict[str, str] = {}
    definitions: dict[str, Any] = {}

    def place(node: Any) -> Any:
        if isinstance(node, list):
            return [place(part) for part in node]
        if not isinstance(node, dict):
            return node
        text = text_of(node)
        if counts[text] > 1 and len(text) >= SHARED_FROM and isinstance(node.get("type"), str | list):
            if text not in names:
                names[text] = f"d{len(names)}"
                definitions[names[text]] = {key: place(value) for key, value in node.items()}
            return {"$ref": f"#/$defs/{names[text]}"}
        return {key: place(value) for key, value in node.items()}

    placed = {kind: place(schema) for kind, schema in schemas.items()}
    return {"$defs": {**definitions, **placed}}


def text_of(node: Any) -> str:
    return json.dumps(node, separators=(",", ":"), sort_keys=True)


def main(folder: Path) -> None:
    schemas = {}
    for kind, name in KINDS.items():
        definition = yaml.safe_load((folder / name).read_text())
        version = next(entry for entry in definition["spec"]["versions"] if entry["name"] == "v1")
        schema = structural(version["schema"]["openAPIV3Schema"])
        del schema["properties"]["status"]
        schema["properties"] |= {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}, "metadata": METADATA}
        schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
        schemas[kind] = schema
    (Path(__file__).parent / "schema.json").write_text(text_of(shared(schemas)) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
