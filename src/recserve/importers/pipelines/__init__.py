"""What pipelines of transformers and models have in common, whichever platform saved them.

Spark, MLeap and scikit-learn pass vectors from stage to stage. Here a vector is a list of symbolic pieces (`vectors`),
so that a one-hot code before a linear model becomes a lookup, an assembler costs nothing, and hashed text stays sparse.
"""
