"""Spark's own answers against the model that recserve reads from the directory that Spark saved, without a JVM."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.importers import read

pytest.importorskip("pyspark", reason="pyspark is not installed")
pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

from pyspark.ml import Pipeline  # noqa: E402
from pyspark.ml import classification as cl  # noqa: E402
from pyspark.ml import clustering as cu  # noqa: E402
from pyspark.ml import evaluation as ev  # noqa: E402
from pyspark.ml import feature as ft  # noqa: E402
from pyspark.ml import regression as rg  # noqa: E402
from pyspark.ml import tuning as tu  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402

NAMES = ["age", "price", "ctr", "device", "city", "title", "click", "cls", "spend"]
CHECKED = ("prediction", "probability", "rawPrediction", "quantiles", "eta", "old", "back")


def draw_rows() -> list[tuple[Any, ...]]:
    r, rows = random.Random(1), []
    for _ in range(200):
        age, price = float(r.randint(18, 70)), round(r.expovariate(0.02), 3)
        words = [r.choice(["shoe", "phone", "new", "red", "sale", "toy"]) for _ in range(r.randint(1, 6))]
        click = float(r.random() < 1 / (1 + math.exp(-(age - 40) / 10)))
        texts = r.choice(["ios", "android", "web"]), f"c{r.randrange(8)}", " ".join(words)
        rows.append((age, price, r.random(), *texts, click, float(r.randrange(3)), price * 0.1 + age + r.gauss(0, 1)))
    return rows


ROWS = draw_rows()


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    session = builder.config("spark.sql.shuffle.partitions", "1").config("spark.driver.memory", "1g").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


CLICK, CLS, SPEND = {"labelCol": "click"}, {"labelCol": "cls"}, {"labelCol": "spend"}
NUM, RAW = {"featuresCol": "num"}, {"featuresCol": "raw"}


class Prefix:
    """Stages that most pipelines begin with; they need a session."""

    def __init__(self) -> None:
        self.index = ft.StringIndexer(
            inputCols=["device", "city"], outputCols=["device_i", "city_i"], handleInvalid="keep"
        )
        self.code = ft.OneHotEncoder(inputCols=["device_i", "city_i"], outputCols=["device_o", "city_o"])
        self.numbers = ft.VectorAssembler(inputCols=["age", "price", "ctr"], outputCol="num")
        coded = ft.VectorAssembler(inputCols=["age", "price", "device_o", "city_o"], outputCol="raw")
        self.wide = [self.index, self.code, coded]
        plain = ft.VectorAssembler(inputCols=["age", "price", "device_i", "city_i"], outputCol="raw")
        self.tree = [self.index, plain]
        self.scaled = [*self.wide, ft.StandardScaler(inputCol="raw", outputCol="features", withMean=True)]
        self.words = ft.Tokenizer(inputCol="title", outputCol="w")


def models(p: Prefix) -> dict[str, list[Any]]:
    """Linear models, factors, naive Bayes and networks."""
    grid = cl.LogisticRegression(maxIter=5, **NUM, **CLICK)
    return {
        "logistic": [*p.scaled, cl.LogisticRegression(threshold=0.3, **CLICK)],
        "multinomial": [*p.scaled, cl.LogisticRegression(thresholds=[0.2, 0.3, 0.5], **CLS)],
        "linear": [*p.scaled, rg.LinearRegression(**SPEND)],
        "svc": [
            *p.wide,
            ft.RobustScaler(inputCol="raw", outputCol="features", withCentering=True),
            cl.LinearSVC(threshold=0.1, **CLICK),
        ],
        "factors": [
            *p.wide,
            ft.MinMaxScaler(inputCol="raw", outputCol="features"),
            cl.FMClassifier(factorSize=3, maxIter=5, **CLICK),
        ],
        "factors-regression": [
            *p.wide,
            ft.MaxAbsScaler(inputCol="raw", outputCol="features"),
            rg.FMRegressor(factorSize=3, maxIter=5, **SPEND),
        ],
        **{
            f"bayes-{kind}": [*p.wide, cl.NaiveBayes(modelType=kind, **RAW, **CLS)]
            for kind in ("multinomial", "complement")
        },
        "bayes-gaussian": [p.numbers, cl.NaiveBayes(modelType="gaussian", **NUM, **CLS)],
        "perceptron": [
            p.numbers,
            cl.MultilayerPerceptronClassifier(layers=[3, 4, 3], maxIter=20, seed=1, **NUM, **CLS),
        ],
        "one-vs-rest": [p.numbers, cl.OneVsRest(classifier=cl.LogisticRegression(maxIter=5), **NUM, **CLS)],
        "search": [
            p.numbers,
            tu.CrossValidator(
                estimator=grid,
                estimatorParamMaps=tu.ParamGridBuilder().addGrid(grid.regParam, [0.0, 0.1]).build(),
                evaluator=ev.BinaryClassificationEvaluator(**CLICK),
                numFolds=2,
                seed=1,
            ),
        ],
    }


def trees_and_clusters(p: Prefix) -> dict[str, list[Any]]:
    """Trees, clusters and an isotonic regression."""
    return {
        "forest": [*p.tree, cl.RandomForestClassifier(numTrees=5, seed=1, **RAW, **CLS)],
        "boosting": [*p.tree, cl.GBTClassifier(maxIter=5, seed=1, **RAW, **CLICK)],
        "tree": [*p.tree, cl.DecisionTreeClassifier(**RAW, **CLICK)],
        "forest-regression": [*p.tree, rg.RandomForestRegressor(numTrees=5, seed=1, **RAW, **SPEND)],
        "boosting-regression": [*p.tree, rg.GBTRegressor(maxIter=5, seed=1, **RAW, **SPEND)],
        "k-means": [p.numbers, cu.KMeans(k=4, seed=1, **NUM)],
        "k-means-cosine": [p.numbers, cu.KMeans(k=4, seed=1, distanceMeasure="cosine", **NUM)],
        "bisecting": [p.numbers, cu.BisectingKMeans(k=4, seed=1, **NUM)],
        "mixture": [p.numbers, cu.GaussianMixture(k=3, seed=1, **NUM)],
        "isotonic": [rg.IsotonicRegression(featuresCol="age", **SPEND)],
    }


def generalized(p: Prefix) -> dict[str, list[Any]]:
    """Generalized linear models."""
    return {
        "gamma": [
            p.numbers,
            rg.GeneralizedLinearRegression(
                family="gamma", link="log", linkPredictionCol="eta", labelCol="price", **NUM
            ),
        ],
        "tweedie": [
            p.numbers,
            rg.GeneralizedLinearRegression(family="tweedie", variancePower=1.5, linkPower=0.0, labelCol="price", **NUM),
        ],
        "survival": [
            p.numbers,
            rg.AFTSurvivalRegression(labelCol="price", censorCol="click", quantilesCol="quantiles", **NUM),
        ],
    }


def texts(p: Prefix) -> dict[str, list[Any]]:
    """Stages on texts."""
    return {
        "hashed words": [
            p.words,
            ft.HashingTF(inputCol="w", outputCol="tf"),
            ft.IDF(inputCol="tf", outputCol="features"),
            cl.LogisticRegression(maxIter=5, **CLICK),
        ],
        "counted words": [
            ft.RegexTokenizer(inputCol="title", outputCol="w", pattern="\\W+"),
            ft.StopWordsRemover(inputCol="w", outputCol="s", stopWords=["new"]),
            ft.CountVectorizer(inputCol="s", outputCol="c"),
            cl.DecisionTreeClassifier(featuresCol="c", **CLICK),
        ],
        "word vectors": [
            p.words,
            ft.Word2Vec(inputCol="w", outputCol="features", vectorSize=5, minCount=1, seed=1),
            cl.LogisticRegression(maxIter=5, **CLICK),
        ],
        "hasher": [
            ft.FeatureHasher(inputCols=["age", "price", "device", "city"], outputCol="features", numFeatures=64),
            cl.LogisticRegression(maxIter=5, **CLICK),
        ],
    }


def numbers(p: Prefix) -> dict[str, list[Any]]:
    """Stages on numbers."""
    return {
        "buckets": [
            ft.Bucketizer(splits=[-math.inf, 30, 50, math.inf], inputCol="age", outputCol="ab"),
            ft.QuantileDiscretizer(numBuckets=4, inputCol="price", outputCol="pb"),
            ft.Imputer(inputCols=["ctr"], outputCols=["ctr2"]),
            ft.VectorAssembler(inputCols=["ab", "pb", "ctr2"], outputCol="features"),
            rg.LinearRegression(**SPEND),
        ],
        "polynomial": [
            p.numbers,
            ft.PolynomialExpansion(inputCol="num", outputCol="p", degree=3),
            ft.Normalizer(inputCol="p", outputCol="features"),
            rg.LinearRegression(**SPEND),
        ],
        "rotations": [
            p.numbers,
            ft.PCA(k=2, inputCol="num", outputCol="p"),
            ft.DCT(inputCol="num", outputCol="d"),
            ft.ElementwiseProduct(scalingVec=[1.0, 2.0, 3.0], inputCol="d", outputCol="e"),
            ft.VectorAssembler(inputCols=["p", "e"], outputCol="features"),
            rg.LinearRegression(**SPEND),
        ],
        "interaction": [
            p.index,
            p.code,
            p.numbers,
            ft.Interaction(inputCols=["num", "device_o", "ctr"], outputCol="features"),
            ft.VectorSizeHint(inputCol="features", size=9, handleInvalid="error"),
            rg.LinearRegression(**SPEND),
        ],
    }


def columns(p: Prefix) -> dict[str, list[Any]]:
    """Formulas, SQL and selections."""
    selector = ft.UnivariateFeatureSelector(featuresCol="vi", outputCol="u", **CLICK)
    selector = selector.setFeatureType("continuous").setLabelType("categorical").setSelectionThreshold(3)
    return {
        "formula": [
            ft.RFormula(formula="click ~ age + price + device + city + age:device"),
            cl.LogisticRegression(maxIter=5),
        ],
        "sql": [
            ft.SQLTransformer(
                statement="SELECT *, log(price + 1D) AS lp, "
                "CASE WHEN device = 'ios' THEN 1D ELSE 0D END AS i FROM __THIS__"
            ),
            ft.VectorAssembler(inputCols=["lp", "i"], outputCol="features"),
            cl.LogisticRegression(maxIter=5, **CLICK),
        ],
        "selections": [
            *p.tree,
            ft.VectorIndexer(inputCol="raw", outputCol="vi", maxCategories=10, handleInvalid="keep"),
            selector,
            ft.VectorSlicer(inputCol="vi", outputCol="sl", indices=[0, 2]),
            ft.VectorAssembler(inputCols=["u", "sl"], outputCol="features"),
            cl.DecisionTreeClassifier(**CLICK),
        ],
        "labels": [
            *p.tree,
            ft.Binarizer(threshold=40.0, inputCol="age", outputCol="old"),
            ft.IndexToString(inputCol="device_i", outputCol="back", labels=["a", "b", "c", "d"]),
            ft.VarianceThresholdSelector(featuresCol="raw", outputCol="features", varianceThreshold=0.1),
            rg.LinearRegression(**SPEND),
        ],
    }


def test_each_pipeline_gives_the_answers_of_spark(spark: Any, tmp_path: Path) -> None:
    frame = spark.createDataFrame(ROWS, NAMES)
    given = {name: [row[i] for row in ROWS] for i, name in enumerate(NAMES)}
    p = Prefix()
    groups = (models(p), trees_and_clusters(p), generalized(p), texts(p), numbers(p), columns(p))
    for name, steps in (item for group in groups for item in group.items()):
        model = Pipeline(stages=steps).fit(frame)
        model.write().save(str(tmp_path / name))
        answers = model.transform(frame)
        want = answers.select(*[column for column in CHECKED if column in answers.columns]).collect()
        scores = read(tmp_path / name).score(given)
        assert scores.errors == {}, name
        for column in want[0].asDict():
            got = scores.outputs[column]
            expected = [row[column].toArray() if hasattr(row[column], "toArray") else row[column] for row in want]
            if isinstance(expected[0], str):
                assert list(got) == expected, f"{name}: {column}"
            else:
                np.testing.assert_allclose(got, np.array(expected), rtol=1e-8, atol=1e-11, err_msg=f"{name}: {column}")
