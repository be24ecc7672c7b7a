"""Checks Kubernetes objects against the schemas of Kubernetes and of custom resource definitions.

validate.py VERSION DIRECTORY: reads a JSON list of objects from the standard input; DIRECTORY has the
definitions. Prints a JSON list with a list of findings for each object. Strict: a field that the
schema doesn't have is a finding, as is a kind without a schema.
"""

import glob
import json
import os
import re
import sys

import jsonschema
import kubernetes_validate
import yaml
from referencing import Registry, Resource


def strict(schema):
    """A definition's schema as JSON schema that lets no unknown field in."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
        schema.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    keeps = schema.get("x-kubernetes-preserve-unknown-fields")
    is_object = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if is_object and not keeps and "additionalProperties" not in schema:
        schema["additionalProperties"] = False
    # Go's way to write patterns is Python's, but for this.
    if isinstance(schema.get("pattern"), str):
        schema["pattern"] = schema["pattern"].replace("\\z", "\\Z")
    return schema


def definitions(directory):
    """The validator of each kind that a file in the directory defines."""
    found = {}
    for path in sorted(glob.glob(os.path.join(directory, "*.yaml"))):
        with open(path, encoding="utf-8") as file:
            documents = [document for document in yaml.safe_load_all(file) if document]
        for definition in documents:
            if definition.get("kind") != "CustomResourceDefinition":
                continue
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}
                api = f"{spec['group']}/{version['name']}"
                found[api, spec["names"]["kind"]] = jsonschema.Draft202012Validator(schema)
    return found


class Core:
    """The validators of Kubernetes' own kinds, each made once."""

    def __init__(self, version):
        package = os.path.dirname(kubernetes_validate.__file__)
        name = f"v{version}-local-strict"
        self.directory = os.path.join(package, "kubernetes-json-schema", name)
        shared = Resource.from_contents(self.read("_definitions.json"))
        self.registry = shared @ Registry()
        self.validators = {}

    def read(self, name):
        with open(os.path.join(self.directory, name), encoding="utf-8") as file:
            return json.load(file)

    def validator(self, api, kind):
        if (api, kind) not in self.validators:
            # rbac.authorization.k8s.io/v1 is rbac-v1 there.
            group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)
            try:
                schema = self.read(f"{kind.lower()}-{group}.json")
            except FileNotFoundError:
                return None
            registry = Resource.from_contents(schema) @ self.registry
            validator = jsonschema.Draft202012Validator(schema, registry=registry)
            self.validators[api, kind] = validator
        return self.validators[api, kind]


def main():
    version, directory = sys.argv[1:]
    core, custom = Core(version), definitions(directory)
    findings = []
    for thing in json.load(sys.stdin):
        api, kind = thing.get("apiVersion", ""), thing.get("kind", "")
        validator = custom.get((api, kind)) or core.validator(api, kind)
        if validator is None:
            findings.append([f"no schema for {api} {kind}"])
            continue
        errors = sorted(validator.iter_errors(thing), key=lambda error: list(map(str, error.path)))
        findings.append(
            ["/".join(map(str, error.path)) + ": " + error.message[:500] for error in errors]
        )
    json.dump(findings, sys.stdout)


main()
