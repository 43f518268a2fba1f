"""The only client of MLflow: `runs` records what happens, `registry` keeps what came of it.

MLflow is the product's database, registry and history; nothing is kept in a second place, and
nothing of MLflow is wrapped beyond what a run of Síntese needs.
"""
