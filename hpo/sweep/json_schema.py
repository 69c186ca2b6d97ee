"""The JSON Schema of a sweep file, for editors that complete and check YAML; made from the models and registries."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import TypeAdapter

from hpo.space.checks import SCALES
from hpo.sweep.spec import Sweep
from hpo.tasks import TaskEntry, tasks
from hpo.training import TrainingConfig, paths

Schema = dict[str, Any]

_ENVIRONMENT: Schema = {"type": "string", "pattern": r"\$\{env:[A-Za-z_][A-Za-z0-9_]*\}"}

_PARAMETER: Schema = {
    "type": "object",
    "properties": {
        "low": {"type": "number", "description": "lowest value, included"},
        "high": {"type": "number", "description": "highest value, included"},
        "log": {"type": "boolean", "description": "uniform in the logarithm"},
        "step": {"type": "number", "description": "only low, low + step, ... up to high"},
        "scale": {"enum": list(SCALES), "description": "uniform in the logarithm of 1 - x"},
        "zero": {"type": "number", "description": "probability of 0 (off), beside the range"},
        "default": {
            "type": ["number", "string", "boolean"],
            "description": "what the first trial of a fresh study takes",
        },
        "source": {"type": "string", "description": "where the range comes from; for people"},
        "type": {"enum": ["int", "float"], "description": "where the field's own type is not known"},
        "choices": {
            "type": ["array", "object"],
            "description": "a list of values, or a mapping of values to the parameters that each one brings",
        },
    },
}


def sweep_schema() -> Schema:
    """The schema that every right sweep file meets; that one is right in all, only `hpo check` can tell.

    It is open where the rules are: to what plugins register, to what a user's own task or loop reads, to dotted keys
    and to `${env:NAME}`.
    """
    schema = Sweep.model_json_schema()
    properties = schema["properties"]
    properties["space"] |= {
        "properties": {
            "use": {
                "type": "array",
                "items": {"type": "string"},
                "description": "spaces in Python: my_space.py:SPACE, search_spaces.mlp:SPACE",
            },
            "tie": {
                "type": "object",
                "description": "parameters that follow from others: {optimizer.weight_decay: '0.1 * optimizer.lr'}",
            },
            **{
                path: _described({"$ref": "#/$defs/Parameter"}, found.description)
                for path, found in paths().items()
                if not path.startswith("schedules.") or path.endswith(".name")  # below it are the fields of `schedule`
            },
        },
        "additionalProperties": {"$ref": "#/$defs/Parameter"},
    }
    properties["base"]["type"] = ["object", "string"]
    for key in ("sampler", "pruner"):
        properties[key] = _open_section(properties[key])
    properties["task"] |= _open_section(TypeAdapter(Annotated[TaskEntry, tasks]).json_schema())
    schema["$defs"] |= {"Parameter": _PARAMETER, "Config": _config()}
    schema = _with_environment(schema)
    schema["$defs"]["Environment"] = _ENVIRONMENT
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "A sweep of hpo",
        # dotted keys mean the same as nested ones, so nothing but the name must stand here as such
        "required": ["name"],
        "patternProperties": {r"^[a-z]+\.": {}},
        # for `train:` the base is any mapping
        "if": {"required": ["task"]},
        "then": {"properties": {"base": {"$ref": "#/$defs/Config"}}},
    }


def schema_text() -> str:
    """`sweep_schema` as the text of its file."""
    return json.dumps(sweep_schema(), indent=2, ensure_ascii=False) + "\n"


def _config() -> Schema:
    """`base:` of a task. Its model is free: a user's own task may read anything there."""
    schema = TrainingConfig.model_json_schema()
    sections: Schema = {}
    for name, section in schema["properties"].items():
        if "set_by" not in section:
            sections[name] = _open_section(section) if "anyOf" in section else section
    sections["model"] = {"description": sections["model"]["description"]}
    dotted: Schema = {r"\.": {}}
    return {
        "type": ["object", "string"],
        "properties": sections,
        "patternProperties": dotted,
        "additionalProperties": False,
    }


def _open_section(section: Schema) -> Schema:
    """A registry's schema that also takes entries which a plugin registers, and leaves out a default's name."""
    names, *entries = section["anyOf"]
    options = [{key: value for key, value in entry.items() if key != "required"} for entry in entries]
    other = {"type": "object", "properties": {"name": {"not": names}}, "required": ["name"]}
    # the enum is no rule beside any text; editors offer its words
    return {**section, "anyOf": [names, *options, other, {"type": "string"}]}


def _described(schema: Schema, text: str) -> Schema:
    return {"description": text, "allOf": [schema]}


def _with_environment(node: Any) -> Any:
    """Titles dropped, and every place for a number, a boolean or a word open to `${env:NAME}`."""
    if isinstance(node, list):
        return [_with_environment(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "enum" in node or "const" in node or node.get("type") in ("integer", "number", "boolean"):
        about = {key: node[key] for key in ("description", "default") if key in node}
        rule = {key: value for key, value in node.items() if key not in about and key != "title"}
        return {**about, "anyOf": [rule, {"$ref": "#/$defs/Environment"}]}
    return {
        # below these are names, and a field may be called `title`
        key: {name: _with_environment(item) for name, item in value.items()}
        if key in ("properties", "$defs", "patternProperties")
        else _with_environment(value)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str))
    }
