"""The commands of ``python -m genrm_engine``, one module each: its options, and what it calls.

A module's ``add`` describes its arguments; its ``run`` returns the summary that ``--json`` prints.
"""
