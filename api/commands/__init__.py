"""The commands of ``atomfield``, one per file: parse, build, run, print. Heavy imports stand inside the functions."""
