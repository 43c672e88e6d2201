"""Products of few bits: how many one-bit operations they are, and what hardware gains. Chapter 21; lecture 000:1149."""

from labkit import checks

GROWTH = {"simd": 1, "special": 2}  # power of the bit-width with which the work grows
BITS_MAX = 64


def bitops(macs: float, *, weight_bits: int, activation_bits: int) -> float:
    """Return the one-bit products in a number of multiply-adds, macs times weight_bits times activation_bits.

    macs : at least 0; bits from 1 to 64. Raises TypeError or ValueError for other numbers. A network of one bit has as
    many as it has multiply-adds. Chapter 21; lecture 000:1149-1161.

    >>> bitops(10, weight_bits=8, activation_bits=8)
    640.0
    """
    macs = checks.number(macs, "macs", low=0)
    bits = {"weight_bits": weight_bits, "activation_bits": activation_bits}
    w, a = (checks.integer(n, name, low=1, high=BITS_MAX) for name, n in bits.items())
    return macs * w * a


def bit_speedup(bits: int, *, from_bits: int = 8, hardware: str = "special") -> float:
    """Return how much faster products of `bits` bits are than those of `from_bits`, by count.

    hardware : "special", where a multiplier is made of b^2 cells and can be cut up, gives (from_bits / bits)^2; "simd",
    where a register of fixed width holds more numbers, gives from_bits / bits. Both operands have the same width.
    Raises TypeError or ValueError for another word or bits outside 1 to 64. Chapter 21; lecture 000:1149-1166.

    >>> bit_speedup(1), bit_speedup(4), bit_speedup(4, hardware="simd")
    (64.0, 4.0, 2.0)
    """
    power = GROWTH[checks.choice(hardware, "hardware", GROWTH)]
    bits = checks.integer(bits, "bits", low=1, high=BITS_MAX)
    return (checks.integer(from_bits, "from_bits", low=1, high=BITS_MAX) / bits) ** power
