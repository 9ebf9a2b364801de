"""The scoring core: models of scalar ops, tables and trees as a small typed graph, and the program that runs it.

Importers (PMML, MLeap, MOJO, boosted trees, Spark, scikit-learn) build a `graph.Graph`; `Graph.build` gives a
`program.Program`, which scores columns. `reference` defines what every op means, one row after the other; the compiled
form runs the same ops as instructions over blocks of rows (`kernels`), with nothing compiled per model.
"""
