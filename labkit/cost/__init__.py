"""What a network costs: parameters, multiply-adds, bytes on disk, and a measured ratio of times."""

from labkit.cost.count import CONVENTIONS, Cost, Row, count
from labkit.cost.measure import file_bytes, time_ratio

__all__ = ["CONVENTIONS", "Cost", "Row", "count", "file_bytes", "time_ratio"]
