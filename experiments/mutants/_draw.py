"""Small faults in a package's sources: which ones there are, and a random draw of them."""

from __future__ import annotations

import ast
import copy
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# A probe cannot see code that numba, Triton or a C++ compiler turns into machine code.
SKIPPED_FILES = re.compile(r"kernels|curvature|numba|triton|tcnn|grouped")
SKIPPED_FUNCTIONS = re.compile(r"__repr__|__str__|extra_repr|_?describe")
SKIPPED_CALLS = re.compile(r"print|warn|note|log|Error|info|debug|Field|TypeVar|overload|jit")
AXES = {"height", "width", "rows", "columns", "row", "column", "y", "x", "h", "w"}
COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
SWAPPED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}

Change = tuple[str, ast.expr, Sequence[ast.expr]]
"""The kind of a fault, the expression that it replaces, and what may stand there instead."""


@dataclass(frozen=True)
class Mutant:
    """One fault: a piece of a source file, in bytes, and its replacement.

    ``at_import`` says that the piece stands outside every function, ``stored`` that it is assigned to.
    """

    file: str
    line: int
    kind: str
    start: int
    end: int
    before: str
    after: str
    at_import: bool
    stored: bool


def draw(package: Path, patterns: Sequence[str], number: int, seed: int) -> list[Mutant]:
    """Random mutants of the files that match the patterns: each line is as likely as any other."""
    lines: dict[tuple[str, int], list[Mutant]] = defaultdict(list)
    chance = random.Random(seed)
    for path in sorted({path for pattern in patterns for path in package.glob(pattern)}):
        if not SKIPPED_FILES.search(path.name):
            for mutant in _mutants(path, str(path.relative_to(package.parent)), chance):
                lines[mutant.file, mutant.line].append(mutant)
    chance = random.Random(seed)
    drawn = []
    for line in chance.sample(sorted(lines), number):
        kind = chance.choice(sorted({mutant.kind for mutant in lines[line]}))
        drawn.append(chance.choice([mutant for mutant in lines[line] if mutant.kind == kind]))
    return drawn


def _mutants(path: Path, file: str, chance: random.Random) -> Iterator[Mutant]:
    source = path.read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    tree = ast.parse(source)
    for (kind, node, changed), at_import in _candidates(tree, tree, True):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        after = ast.unparse(ast.fix_missing_locations(copy.deepcopy(chance.choice(changed))))
        stored = isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Store)
        before = source[start:end].decode()
        yield Mutant(file, node.lineno, kind, start, end, before, after if stored else f"({after})", at_import, stored)


def _candidates(node: ast.AST, parent: ast.AST, at_import: bool) -> Iterator[tuple[Change, bool]]:
    """The changes of a node and of all below it; messages, annotations, decorators and compiled functions have none."""
    function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    if _is_skipped(node):
        return
    for change in _changes(node, parent):
        yield change, at_import
    for name, field in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list") or _integer(node) is not None:
            continue
        below = at_import and not (name == "body" and (function or isinstance(node, ast.Lambda)))
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST):
                yield from _candidates(child, node, below)


def _is_skipped(node: ast.AST) -> bool:
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.match_case():
            return True
        case ast.Call(func=called):
            return SKIPPED_CALLS.search(ast.unparse(called)) is not None
        case ast.If(test=test):
            return "TYPE_CHECKING" in ast.unparse(test)
        case ast.FunctionDef(name=name, decorator_list=decorators):
            return bool(SKIPPED_FUNCTIONS.fullmatch(name)) or any("jit" in ast.unparse(each) for each in decorators)
    return False


def _changes(node: ast.AST, parent: ast.AST) -> Iterator[Change]:
    """The changes of one node."""
    match node:
        case ast.Compare(left=left, ops=[op], comparators=others):
            flipped = [ast.Compare(left, [kind()], others) for kind in COMPARED[type(op)]]
            yield "flipped comparison", node, flipped
        case ast.BinOp(left=left, op=op, right=right) if type(op) in SWAPPED and not _joins(node):
            yield "swapped operator", node, [ast.BinOp(left, SWAPPED[type(op)](), right)]
            if isinstance(op, ast.Add | ast.Sub):
                yield "dropped term", node, [left] if isinstance(op, ast.Sub) else [left, right]
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield "negated condition", test, [ast.UnaryOp(ast.Not(), test)]
        case ast.comprehension(ifs=tests):
            for test in tests:
                yield "negated condition", test, [ast.UnaryOp(ast.Not(), test)]
        case ast.Slice(lower=lower, upper=upper):
            for bound in (lower, upper):
                if bound is not None and _integer(bound) is None:
                    moved = [ast.BinOp(bound, op(), ast.Constant(1)) for op in (ast.Add, ast.Sub)]
                    yield "off by one", bound, moved
        case ast.Tuple(elts=[ast.Name(id=first), ast.Name(id=second)]) if {first, second} <= AXES:
            yield "swapped axis", node, [ast.Tuple(node.elts[::-1], node.ctx)]
        case ast.Constant() | ast.UnaryOp():
            yield from _number(node, parent)


def _number(node: ast.expr, parent: ast.AST) -> Iterator[Change]:
    value = _integer(node)
    if value is None or (isinstance(parent, ast.UnaryOp) and _integer(parent) is not None):
        return
    match parent:
        case ast.Subscript(value=ast.Attribute(attr="shape")) | ast.keyword(arg="dim" | "axis"):
            other = {0: 1, 1: 0, -1: -2, -2: -1}.get(value, value - 1)
            yield "swapped axis", node, [ast.Constant(other)]
        case _:
            yield "off by one", node, [ast.Constant(value + 1), ast.Constant(value - 1)]


def _integer(node: ast.AST) -> int | None:
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if type(value) is int:
            return -value
        case ast.Constant(value=value) if type(value) is int:
            return value
    return None


def _joins(node: ast.AST) -> bool:
    """Whether a sum has strings or lists in it."""
    return any(
        isinstance(part, ast.JoinedStr | ast.List | ast.ListComp)
        or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in ast.walk(node)
    )
