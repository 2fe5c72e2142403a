"""What commands print with --json: a table and a JSON Schema for every document."""

from __future__ import annotations

import json
from typing import Any

from handbook.markdown import code, table
from rounds.documents import DOCUMENTS, Part

JSON_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "yes/no"}


def schemas() -> dict[str, str]:
    """The JSON Schema of every document: path in docs/ -> text."""
    return {
        f"reference/schemas/{name_of(document)}.json": json.dumps(schema_of(document), indent=2)
        + "\n"
        for document in DOCUMENTS
    }


def name_of(document: type[Part]) -> str:
    """The name of a document's schema as a file's name: labelrounds.status-1."""
    return str(document.model_fields["schema_"].default).replace("/", "-")


def schema_of(document: type[Part]) -> dict[str, Any]:
    """The JSON Schema of what a command prints."""
    return document.model_json_schema(mode="serialization")


def documents_block() -> list[str]:
    """A section a document: what prints it, its fields; then the parts that documents share."""
    lines: list[str] = []
    parts: dict[str, Any] = {}
    for document in DOCUMENTS:
        schema = schema_of(document)
        parts |= schema.get("$defs", {})
        name = name_of(document)
        link = f"[JSON Schema](schemas/{name}.json)"
        text = f"{schema['description']} {link}."
        lines += [f"### {name.replace('-', '/')}", "", text, "", *fields_table(schema), ""]
    for name, schema in sorted(parts.items()):
        lines += [f"### {name}", "", schema["description"], "", *fields_table(schema), ""]
    return lines[:-1]


def fields_table(schema: dict[str, Any]) -> list[str]:
    """One row a field."""
    rows = [
        (code(name), type_of(field), field.get("description", ""))
        for name, field in schema["properties"].items()
    ]
    return table(("field", "type", "meaning"), rows)


def type_of(field: dict[str, Any]) -> str:
    """A field's type in words; a part is linked."""
    if "const" in field:
        return code(json.dumps(field["const"]))
    if "anyOf" in field:
        return " or ".join(type_of(option) for option in field["anyOf"])
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    kind = str(field.get("type", "anything"))
    if kind == "array":
        return f"list of {type_of(field['items'])}"
    if kind == "object":
        inner = field.get("additionalProperties")
        return f"object of {type_of(inner)}" if isinstance(inner, dict) else "object"
    return JSON_TYPES.get(kind, kind)
