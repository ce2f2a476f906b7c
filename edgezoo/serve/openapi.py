"""What this server takes and answers, as a document for programs (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgezoo import __version__
from edgezoo.serve.predict import Limits
from edgezoo.web.doors import WITHOUT_TOKEN

_Doc = dict[str, Any]
_NUMBER: _Doc = {"type": "number"}
_WHOLE: _Doc = {"type": "integer", "minimum": 0}
_TEXT: _Doc = {"type": "string"}
_ERROR: _Doc = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}, "additionalProperties": False}
_TIMES: _Doc = {
    "type": "object",
    "required": ["decode", "prepare", "wait", "infer", "read"],
    "additionalProperties": _NUMBER,
    "description": "Milliseconds; infer is of the whole batch.",
}
_BOX: _Doc = {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4}
_DETECTION: _Doc = {
    "type": "object",
    "required": ["label", "score", "box_xyxy"],
    "properties": {"label": _TEXT, "score": _NUMBER, "box_xyxy": {**_BOX, "description": "Pixels of the image."}},
}
_LABEL: _Doc = {"type": "object", "required": ["label", "score"], "properties": {"label": _TEXT, "score": _NUMBER}}
_RESULT: _Doc = {
    "type": "object",
    "required": ["width", "height", "classes", "ms", "batch"],
    "properties": {
        "name": {**_TEXT, "description": "Of the file, in a body of several parts."},
        "width": _WHOLE,
        "height": _WHOLE,
        "detections": {"type": "array", "items": _DETECTION, "description": "Of a detector, best score first."},
        "labels": {"type": "array", "items": _LABEL, "description": "Of a classifier, likeliest first."},
        "classes": {"type": "array", "items": _WHOLE, "description": "The class number of each."},
        "ms": _TIMES,
        "batch": {**_WHOLE, "description": "So many images were inferred together."},
    },
}
_ANSWER: _Doc = {
    "type": "object",
    "required": ["model", "precision", "backend", "version", "device", "ms", "results"],
    "properties": {
        **dict.fromkeys(("model", "precision", "backend", "version", "device"), _TEXT),
        "ms": {**_NUMBER, "description": "From the head of the request to the answer."},
        "results": {"type": "array", "items": {"$ref": "#/components/schemas/Result"}},
    },
}
_MODEL: _Doc = {
    "type": "object",
    "required": ["name", "task", "precision", "backend", "version", "device", "size_wh", "labels", "default"],
    "properties": {
        **dict.fromkeys(("name", "title", "task", "precision", "backend", "version", "device"), _TEXT),
        "size_wh": {"type": "array", "items": _WHOLE},
        "labels": {"type": "array", "items": _TEXT},
        "default": {"type": "boolean"},
    },
}
_MODELS: _Doc = {
    "type": "object",
    "required": ["models"],
    "properties": {"models": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}},
}
_STATUS: _Doc = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": _TEXT, "live": {**_TEXT, "description": "Why no pictures are shown, where none are."}},
}
_REFUSALS = {
    400: "The request or an image in it is wrong; the line says how.",
    404: "No such model.",
    408: "The body did not come in time.",
    413: "The body or an image is larger than this server takes, or there are too many.",
    429: "Too much is under way; Retry-After says when to come back.",
    500: "The model failed.",
    503: "No answer in time, or the server is about to end.",
}
_NO_TOKEN = {401: "Not the token of this server."}
_FOREIGN = {403: "From the page of another site, or to a name that is not this machine's."}


def document(models: Sequence[str], labels: Sequence[str], limits: Limits, *, token: bool) -> _Doc:
    """`models` by name, the default first; `labels`: the default's, for the example of `classes`; `token`: whether one
    is asked for.
    """
    told: _Doc = {
        "openapi": "3.1.0",
        "info": {
            "title": "edgezoo",
            "version": __version__,
            "description": "Images in, what a model finds in them out. Nothing that is sent is kept.",
            "license": {"name": "Apache-2.0"},
        },
        "paths": {
            "/v1/models": {"get": _get("The models that answer here", "Models", "models")},
            "/v1/predict": {"post": _predict(models, labels, limits)},
            "/healthz": {"get": _get("Whether the server lives", "Status", "health", fails=True)},
            "/readyz": {"get": _get("Whether it takes requests", "Status", "readiness", fails=True)},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _get("This document", None, "description")},
        },
        "components": {
            "schemas": {
                "Error": _ERROR, "Result": _RESULT, "Answer": _ANSWER,
                "Model": _MODEL, "Models": _MODELS, "Status": _STATUS,
            }
        },
    }  # fmt: skip
    for path, operations in told["paths"].items():
        for method, operation in operations.items():
            if not token or method != "get":
                operation["responses"] |= _refusals(_FOREIGN)
            if token and path in WITHOUT_TOKEN:
                operation["security"] = []
            elif token:
                operation["responses"] |= _refusals(_NO_TOKEN)
    if token:
        told["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        told["security"] = [{"token": []}]
    return told


def _predict(models: Sequence[str], labels: Sequence[str], limits: Limits) -> _Doc:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    classes: _Doc = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "class"}}
    classes |= {"examples": [[*labels[:2]]]} if labels else {}
    parameters = [
        _parameter("model", {"type": "string", "enum": [*models]}, f"Default: {models[0]}."),
        _parameter("score", share, "Only what scores above this."),
        _parameter("iou", share, "Boxes of one class that overlap by more are one object."),
        {
            **_parameter("classes", classes, "Only these of the model's, by name or number."),
            "style": "form",
            "explode": False,
        },
    ]
    image = {"type": "string", "format": "binary"}
    several = {"type": "array", "items": image, "minItems": 1, "maxItems": limits.images}
    form: _Doc = {"type": "object", "required": ["image"], "properties": {"image": several}}
    form["additionalProperties"] = False
    kinds = ("image/jpeg", "image/png", "image/webp", "image/bmp")
    parts = {"schema": form, "encoding": {"image": {"contentType": ", ".join(kinds)}}}
    return {
        "summary": "What a model finds in one image, or in several",
        "description": (
            "The bytes of a JPEG, PNG, WebP or BMP, whatever its type is said to be, or several as multipart/form-data."
            f" At most {limits.bytes} bytes, {limits.images} images, {limits.pixels} pixels an image and four times as "
            "many in all."
        ),
        "operationId": "predict",
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "content": {**{kind: {"schema": image} for kind in kinds}, "multipart/form-data": parts},
        },
        "responses": {"200": _json("What was found", "Answer"), **_refusals(_REFUSALS)},
    }


def _get(summary: str, schema: str | None, name: str, *, fails: bool = False) -> _Doc:
    responses = {"200": _json(summary, schema)} | (_refusals({503: "It does not."}) if fails else {})
    return {"summary": summary, "operationId": name, "responses": responses}


def _metrics() -> _Doc:
    content = {"text/plain": {"schema": _TEXT}}
    return {
        "summary": "Figures for Prometheus",
        "operationId": "metrics",
        "responses": {"200": {"description": "In its text format", "content": content}},
    }


def _parameter(name: str, schema: _Doc, description: str) -> _Doc:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _json(description: str, schema: str | None) -> _Doc:
    told = {"type": "object"} if schema is None else {"$ref": f"#/components/schemas/{schema}"}
    return {"description": description, "content": {"application/json": {"schema": told}}}


def _refusals(told: dict[int, str]) -> _Doc:
    answers = {str(status): _json(line, "Error") for status, line in told.items()}
    if "429" in answers:
        answers["429"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return answers
