"""Vectors of single-precision numbers for kernels that numba compiles: as wide as the processor's registers.

LLVM turns a loop over samples into vector instructions by itself, but it keeps no block of a product in registers. With
vectors as values a kernel says itself what stays in a register. All arithmetic is exact IEEE, in the order written.
"""

# Numba's decorators have no types, and its intrinsics have one argument more than their callers see.
# mypy: ignore-errors

import operator

from llvmlite import binding, ir
from numba.core import types
from numba.core.extending import intrinsic, models, overload, register_model
from numba.np.arrayobj import make_array

LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8
"""Numbers in a vector."""

HALF, QUARTER, EIGHTH = LANES // 2, LANES // 4, LANES // 8

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(ir.IntType(32), LANES)


class Vector(types.Type):
    """The type of a vector in a kernel."""

    def __init__(self):
        super().__init__(name=f"float32x{LANES}")


VECTOR = Vector()


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _FLOATS)


def _pointer(context, builder, signature, values, to):
    """A pointer to element ``values[1]`` of the flat array ``values[0]``."""
    data = make_array(signature.args[0])(context, builder, values[0]).data
    return builder.bitcast(builder.gep(data, [values[1]]), to.as_pointer())


def _splat(builder, value):
    one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(_INTS, [0] * LANES))


def _fma(builder, a, b, c):
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    function = builder.module.globals.get(f"llvm.fma.v{LANES}f32") or ir.Function(
        builder.module, kind, f"llvm.fma.v{LANES}f32"
    )
    return builder.call(function, [a, b, c])


@intrinsic
def load(typing, array, at):
    """The numbers of a flat float32 array from position ``at`` on."""

    def emit(context, builder, signature, values):
        return builder.load(_pointer(context, builder, signature, values, _FLOATS), align=4)

    return VECTOR(array, types.intp), emit


@intrinsic
def store(typing, array, at, vector):
    """Write a vector into a flat float32 array from position ``at`` on."""

    def emit(context, builder, signature, values):
        builder.store(values[2], _pointer(context, builder, signature, values, _FLOATS), align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector), emit


@intrinsic
def splat(typing, number):
    """A number in all lanes."""
    return VECTOR(types.float32), lambda context, builder, signature, values: _splat(builder, values[0])


@intrinsic
def splat_at(typing, array, at):
    """The number of a flat float32 array at position ``at``, in all lanes."""

    def emit(context, builder, signature, values):
        return _splat(builder, builder.load(_pointer(context, builder, signature, values, ir.FloatType())))

    return VECTOR(array, types.intp), emit


@intrinsic
def fma(typing, a, b, c):
    """``a b + c``, rounded once."""
    return VECTOR(a, b, c), lambda context, builder, signature, values: _fma(builder, *values)


@intrinsic
def flip_odd(typing, vector, whole):
    """The vector, with the sign flipped where the last bit of ``whole`` is set."""

    def emit(context, builder, signature, values):
        bits = builder.shl(builder.bitcast(values[1], _INTS), ir.Constant(_INTS, [31] * LANES))
        return builder.bitcast(builder.xor(builder.bitcast(values[0], _INTS), bits), _FLOATS)

    return VECTOR(vector, whole), emit


@intrinsic
def clamp(typing, vector, limit):
    """The numbers, at least ``-limit`` and at most ``limit``; NaN stays NaN."""

    def emit(context, builder, signature, values):
        vector, limit = values
        vector = builder.select(builder.fcmp_ordered(">", vector, limit), limit, vector)
        limit = builder.fneg(limit)
        return builder.select(builder.fcmp_ordered("<", vector, limit), limit, vector)

    return VECTOR(vector, limit), emit


@intrinsic(prefer_literal=True)
def halves(typing, a, b, lanes):
    """Add the halves of each group of ``2 lanes`` lanes: those of ``a``, then those of ``b``.

    Applied to pairs of vectors with LANES / 2, LANES / 4, … 1 lanes, it sums LANES vectors into one, in their order.
    """
    half = lanes.literal_value

    def emit(context, builder, signature, values):
        first = [2 * half * (lane // half) + lane % half for lane in range(LANES)]
        low, high = (
            builder.shuffle_vector(values[0], values[1], ir.Constant(_INTS, [lane + up for lane in first]))
            for up in (0, half)
        )
        return builder.fadd(low, high)

    return VECTOR(a, b, lanes), emit


@intrinsic(prefer_literal=True)
def store_four(typing, array, at, vector, first):
    """Write four lanes of a vector, from lane ``first`` on, into a flat float32 array from position ``at`` on."""
    lanes = [first.literal_value + lane for lane in range(4)]

    def emit(context, builder, signature, values):
        four = builder.shuffle_vector(values[2], values[2], ir.Constant(ir.VectorType(ir.IntType(32), 4), lanes))
        pointer = _pointer(context, builder, signature, values, ir.VectorType(ir.FloatType(), 4))
        builder.store(four, pointer, align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector, first), emit


@intrinsic
def lane(typing, vector, number):
    """The number in a lane."""
    emit = lambda context, builder, signature, values: builder.extract_element(*values)  # noqa: E731
    return types.float32(vector, types.int32), emit


@intrinsic
def next_of(typing, counter):
    """The first number of an int64 array, which is raised by one; atomic, so that each thread gets another number."""

    def emit(context, builder, signature, values):
        data = make_array(signature.args[0])(context, builder, values[0]).data
        return builder.atomic_rmw("add", data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), emit


def _arithmetic(operation, name):
    @intrinsic
    def apply(typing, a, b):
        return VECTOR(a, b), lambda context, builder, signature, values: getattr(builder, name)(*values)

    @overload(operation)
    def of_vectors(a, b):
        return (lambda a, b: apply(a, b)) if isinstance(a, Vector) and isinstance(b, Vector) else None


for _operation, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _arithmetic(_operation, _name)
