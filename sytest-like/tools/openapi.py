#!/usr/bin/env python3
"""Derives operations.txt, queries.txt and bodies.jsonl from a checkout of the Matrix specification.

    tools/openapi.py PATH-TO-SPEC      (needs PyYAML; run it when the specification moves on)

operations.txt: one operation a line: method, path, API, section, and whether it needs an access token.
queries.txt: the query parameters of every operation that has some, with their types.
bodies.jsonl: for every operation with a JSON body, the types of its fields, so that wrong ones can be generated.
"""

import json
import pathlib
import sys

import yaml

APIS = ["client-server", "server-server"]
METHODS = ["get", "put", "post", "delete", "patch", "options", "head"]
HERE = pathlib.Path(__file__).resolve().parent.parent
DEPTH = 6

loaded = {}


def load(path):
    path = path.resolve()
    if path not in loaded:
        loaded[path] = yaml.safe_load(path.read_text())
    return loaded[path]


def follow(node, path):
    """Resolves a $ref; returns the node and the file it stands in."""
    while isinstance(node, dict) and "$ref" in node:
        target, _, pointer = node["$ref"].partition("#")
        siblings = {k: v for k, v in node.items() if k != "$ref"}
        if target:
            path = (path.parent / target).resolve()
        found = load(path)
        for part in filter(None, pointer.split("/")):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        node = {**found, **siblings} if isinstance(found, dict) and siblings else found
    return node, path


def shape(schema, path, depth=0):
    """A schema boiled down: a type name, ["item"] for arrays, {"field": …} for objects, {"*": …} for maps."""
    schema, path = follow(schema, path)
    if not isinstance(schema, dict) or depth > DEPTH:
        return "any"
    for key in ("oneOf", "anyOf"):
        if key in schema and "properties" not in schema:
            return shape(schema[key][0], path, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema or "allOf" in schema else "any")
    if isinstance(kind, list):
        kind = next(name for name in kind if name != "null")
    if kind == "array":
        return [shape(schema.get("items", {}), path, depth + 1)]
    if kind != "object":
        return kind
    fields = {}
    for part in schema.get("allOf", []):
        part_shape = shape(part, path, depth + 1)
        if isinstance(part_shape, dict):
            fields.update(part_shape)
    for name, field in schema.get("properties", {}).items():
        fields[name] = shape(field, path, depth + 1)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict) and not fields:
        fields["*"] = shape(extra, path, depth + 1)
    return fields or "object"


def base_path(document):
    server = document.get("servers", [{}])[0]
    return server.get("variables", {}).get("basePath", {}).get("default", "")


def main():
    spec = pathlib.Path(sys.argv[1])
    operations, bodies, queries = [], [], []
    for api in APIS:
        for path in sorted((spec / "data/api" / api).glob("*.yaml")):
            document = load(path)
            for route, item in document.get("paths", {}).items():
                for method in METHODS:
                    if method not in item:
                        continue
                    operation = item[method]
                    # A path that stands there twice has a space at its end the second time.
                    full = (base_path(document).rstrip("/") + route).strip()
                    section = (operation.get("tags") or ["Other"])[0]
                    token = "token" if {} not in operation.get("security", [{}]) else "open"
                    operations.append((api, section, full, method.upper(), token))
                    parameters = [follow(p, path)[0] for p in item.get("parameters", []) + operation.get("parameters", [])]
                    names = [
                        f"{p['name']}:{shape(p.get('schema', {}), path)}" if p["schema"].get("type") != "array"
                        else f"{p['name']}:array"
                        for p in parameters
                        if p["in"] == "query"
                    ]
                    if names and all(query[:3] != (api, full, method.upper()) for query in queries):
                        queries.append((api, full, method.upper(), names))
                    body, where = follow(operation.get("requestBody", {}), path)
                    schema = body.get("content", {}).get("application/json", {}).get("schema")
                    if schema is not None:
                        fields = shape(schema, where)
                        known = next((body for body in bodies if body[:3] == (api, full, method.upper())), None)
                        if known:
                            known[3].update(fields)
                        else:
                            bodies.append((api, full, method.upper(), fields))
    operations = sorted({operation[2:4]: operation for operation in operations}.values())
    lines = ["# Made by tools/openapi.py. method, path, API, access token, section"]
    lines += ["\t".join([method, path, api, token, section]) for api, section, path, method, token in operations]
    (HERE / "operations.txt").write_text("\n".join(lines) + "\n")
    queries.sort()
    lines = ["# Made by tools/openapi.py. method, path, query parameters"]
    lines += ["\t".join([method, path, " ".join(names)]) for _, path, method, names in queries]
    (HERE / "queries.txt").write_text("\n".join(lines) + "\n")
    bodies.sort(key=lambda body: body[:3])
    with open(HERE / "bodies.jsonl", "w") as out:
        for api, path, method, fields in bodies:
            row = {"api": api, "method": method, "path": path, "body": fields}
            out.write(json.dumps(row, separators=(",", ":"), sort_keys=False) + "\n")
    print(f"{len(operations)} operations, {len(bodies)} bodies")


main()
