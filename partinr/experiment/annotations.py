"""Reads the types of fields from the source of partinr's classes, whose import would import torch."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any, Literal

_PACKAGE = Path(__file__).parents[1]

_SIMPLE: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "Any": Any}


class UnknownError(Exception):
    """The source does not tell a type in a simple way; importing the class does."""


def type_of(target: str, field: str) -> Any:
    """The type of a class's field, or of an argument that makes an object; limits of its values are left out.

    Args:
        target: dotted path of the class, which may be a name that a package imports.
        field: name of the field.

    Raises:
        UnknownError: it is no class of partinr, or a type is one that only Python can evaluate.
    """
    module, _, name = target.rpartition(".")
    found = _annotation(module, name, field)
    if found is None:
        raise UnknownError(f"{target}.{field}")
    return _evaluated(*found)


def _annotation(module: str, name: str, field: str) -> tuple[ast.expr, str] | None:
    """The annotation of a field, in a class or those that it derives from, and the module that has it."""
    node, module = _defined(module, name)
    if not isinstance(node, ast.ClassDef):
        raise UnknownError(name)
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and each.target.id == field:
            return each.annotation, module
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            for argument in (*each.args.args, *each.args.kwonlyargs):
                if argument.arg == field and argument.annotation is not None:
                    return argument.annotation, module
    names = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id != "ABC"]
    return next(filter(None, (_annotation(module, base, field) for base in names)), None)


def _defined(module: str, name: str) -> tuple[ast.AST, str]:
    """The class or value of a name, and the module that defines it; imports are followed."""
    body = _source(module).body
    for_checkers = (each for node in body if isinstance(node, ast.If) for each in node.body)  # if TYPE_CHECKING
    for node in (*body, *for_checkers):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node, module
        if isinstance(node, ast.Assign) and any(
            isinstance(each, ast.Name) and each.id == name for each in node.targets
        ):
            return node.value, module
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _defined(node.module, alias.name)
    raise UnknownError(f"{module}.{name}")


@functools.cache
def _source(module: str) -> ast.Module:
    package, *parts = module.split(".")
    if package != _PACKAGE.name:
        raise UnknownError(module)
    file = _PACKAGE.joinpath(*parts)
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])


def _evaluated(node: ast.AST, module: str) -> Any:
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name) if name in _SIMPLE:
            return _SIMPLE[name]
        case ast.Name(id=name):
            return _evaluated(*_defined(module, name))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _evaluated(left, module) | _evaluated(right, module)
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[first, *_])):
            return _evaluated(first, module)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return Literal[ast.literal_eval(inner)]
        case ast.Subscript(value=ast.Name(id="list"), slice=inner):
            return list[_evaluated(inner, module)]  # type: ignore[misc]
    raise UnknownError(ast.dump(node))
