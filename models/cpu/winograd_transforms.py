"""The steps of Winograd's F(4x4, 3x3) convolution as vector code: sixteen channels of one tile.

B^T d B and A^T m A of Lavin and Gray (arXiv 1509.09308, §4.1). Distances are in bytes.
"""

from __future__ import annotations

from numba.extending import intrinsic

from models.cpu.sizes import TILE_BYTES
from models.cpu.vectors import Integer, Lanes, of_integers


@intrinsic
def transform(context, source, row, column, to, place):
    """Six by six values from ``source`` on, ``row`` and ``column`` apart, to 36 places."""
    return of_integers(_transform, 5)


@intrinsic
def transform_split(context, source, row, column, to, place):
    """The same, each place's values as two bfloat16 halves in two tiles."""
    return of_integers(_transform_split, 5)


@intrinsic
def transform_back(
    context, source, place, bias, added, added_row, added_column, least, to, row, column
):
    """36 places to four by four results, plus ``bias``, plus ``added``, at least ``least``."""
    return of_integers(_transform_back, 10)


def _transform(source: Integer, row: Integer, column: Integer, to: Integer, place: Integer) -> None:
    for number, values in enumerate(_transformed(source, row, column)):
        (to + place * number).write(values)


def _transform_split(
    source: Integer, row: Integer, column: Integer, to: Integer, place: Integer
) -> None:
    for number, values in enumerate(_transformed(source, row, column)):
        (to + place * number).write_split(values, TILE_BYTES)


def _transformed(source: Integer, row: Integer, column: Integer) -> list[Lanes]:
    columns = [
        _six([(source + row * i + column * j).read() for i in range(6)]) for j in range(6)
    ]  # B^T d, a list a column
    return [value for i in range(6) for value in _six([columns[j][i] for j in range(6)])]


def _six(d: list[Lanes]) -> list[Lanes]:
    """B^T d."""
    near, near_odd = d[4] - d[2] * 4.0, d[3] - d[1] * 4.0
    far, far_odd = d[4] - d[2], (d[3] - d[1]) * 2.0
    return [
        d[0] * 4.0 - d[2] * 5.0 + d[4],
        near + near_odd,
        near - near_odd,
        far + far_odd,
        far - far_odd,
        d[1] * 4.0 - d[3] * 5.0 + d[5],
    ]


def _four(m: list[Lanes]) -> list[Lanes]:
    """A^T m."""
    near, near_odd = m[1] + m[2], m[1] - m[2]
    far, far_odd = m[3] + m[4], m[3] - m[4]
    return [
        m[0] + near + far,
        near_odd + far_odd * 2.0,
        near + far * 4.0,
        near_odd + far_odd * 8.0 + m[5],
    ]


def _transform_back(
    source: Integer,
    place: Integer,
    bias: Integer,
    added: Integer,
    added_row: Integer,
    added_column: Integer,
    least: Integer,
    to: Integer,
    row: Integer,
    column: Integer,
) -> None:
    columns = [
        _four([(source + place * (6 * i + j)).read() for i in range(6)]) for j in range(6)
    ]  # A^T m, a list a column
    shift, bound = bias.read(), least.read()
    for i in range(4):
        for j, result in enumerate(_four([columns[k][i] for k in range(6)])):
            plus = (added + added_row * i + added_column * j).read()
            (to + row * i + column * j).write((result + shift + plus).at_least(bound))
