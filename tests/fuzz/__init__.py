"""Good files of every format and ways to spoil them; ``benchmarks/fuzz_readers.py`` runs many, a test a few."""
