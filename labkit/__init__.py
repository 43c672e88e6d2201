"""labkit: the methods of the book on neural-network compression, each in code that a reader can follow."""

__version__ = "0.1.0"
