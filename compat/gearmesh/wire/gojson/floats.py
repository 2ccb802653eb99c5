"""Prints floats as Go does in JSON. Source: recording ``floats.jsonl``."""

from __future__ import annotations

import struct
from fractions import Fraction

__all__ = ["float32_text", "float64_text", "to_float32"]


def float64_text(value: float) -> str:
    """Return the shortest text that reads back as ``value``, which must be finite."""
    text = repr(value)
    size = abs(value)
    if 1e-4 <= size < 1e16 or not value:  # where Python writes no exponent
        return text[:-2] if text.endswith(".0") else text
    return _arrange(text, small=size < 1e-6, large=size >= 1e21)


def float32_text(value: float) -> str:
    """Return the shortest text that reads back as ``value``, which must be a finite float32."""
    if not value:
        return "-0" if str(value)[0] == "-" else "0"
    size = abs(value)
    # A float32 tells apart all numbers of six digits unless it is subnormal. So if one of them rounds to it, no other
    # number of up to six digits does.
    short = float(f"{size:.6g}")
    shortest = repr(short if size >= _LEAST_NORMAL32 and to_float32(short) == size else _shortest32(size))
    if value < 0:
        shortest = "-" + shortest
    return _arrange(shortest, small=size < _SMALL32, large=size >= _LARGE32)


def _shortest32(size: float) -> float:
    """Return the number with the fewest digits that rounds to a positive float32, and of these the nearest."""
    bits = _bits(size)
    # The numbers that round to this one reach half way to each neighbour, including both ends if it is even.
    exact = Fraction(size)
    if bits & 0x7FFFFFFF == 0x7F7FFFFF:
        above = exact + (exact - Fraction(_from_bits(bits - 1))) / 2
    else:
        above = (exact + Fraction(_from_bits(bits + 1))) / 2
    below = (exact + Fraction(_from_bits(bits - 1))) / 2
    for digits in range(9):
        text = f"{size:.{digits}e}"
        if below < Fraction(text) < above:
            break
        if not bits & 1 and Fraction(text) in (below, above):
            break
        if not bits & 0x7FFFFF:
            # At a power of two the gap below is half as wide, so the next number up may round to it as well.
            mantissa, _, exponent = text.partition("e")
            step = Fraction(10) ** (int(exponent) - digits)
            if Fraction(text) < exact and Fraction(text) + step <= above:
                whole = int(mantissa.replace(".", "")) + 1
                text = f"{whole}e{int(exponent) - digits}"
                break
    return float(text)


def to_float32(value: float) -> float:
    """Round ``value`` to the nearest float32. OverflowError if it is beyond the largest."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _bits(value: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def _from_bits(bits: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


_LEAST_NORMAL32 = 2.0**-126
# Go: compares a float32 with these limits of the plain notation as float32.
_SMALL32 = to_float32(1e-6)
_LARGE32 = to_float32(1e21)


def _arrange(text: str, *, small: bool, large: bool) -> str:
    """Write Python's shortest digits in Go's notation: with an exponent below 1e-6 and from 1e21 on."""
    sign = "-" if text[0] == "-" else ""
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, part = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)  # digits before the decimal point
    digits = (whole + part).lstrip("0")
    point -= len(whole + part) - len(digits)
    digits = digits.rstrip("0")
    if small or large:
        power = point - 1
        tail = "." + digits[1:] if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{'+' if power >= 0 else '-'}{abs(power)}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return sign + digits.ljust(point, "0")
    return f"{sign}{digits[:point]}.{digits[point:]}"
