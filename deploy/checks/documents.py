"""The documents of a YAML stream."""

import yaml


def documents(text: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(text) if document]


def name_of(document: dict) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"
