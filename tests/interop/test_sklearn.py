"""scikit-learn's own predictions against the model that recserve reads from the live estimator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers.sklearn import read_estimator

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]

from sklearn import (  # noqa: E402
    calibration,
    cluster,
    compose,
    decomposition,
    discriminant_analysis,
    dummy,
    ensemble,
    feature_extraction,
    feature_selection,
    impute,
    isotonic,
    linear_model,
    mixture,
    model_selection,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

ROWS = 120
RNG = np.random.default_rng(7)
X = np.round(RNG.normal(size=(ROWS, 4)), 3)
X[:, 3] = RNG.integers(0, 4, ROWS)
SPARSE = np.where(RNG.random((ROWS, 4)) < 0.2, np.nan, X)
BINARY = np.where(X[:, 0] + 0.5 * X[:, 1] + 0.3 * RNG.normal(size=ROWS) > 0, "yes", "no")
MANY = np.digitize(X[:, 0] + 0.3 * X[:, 3] + 0.2 * RNG.normal(size=ROWS), [-0.4, 0.6])
AMOUNT = 2.0 * X[:, 0] - X[:, 1] + 0.1 * RNG.normal(size=ROWS) + 5.0
WORDS = ["Red shoe", "new phone!", "shoe", "the red red toy", "Crème toy", ""]
TITLES = [" ".join(RNG.choice(WORDS, 3)) for _ in range(ROWS)]
CITIES = np.array([["ams", "ber", "cph"][i] for i in RNG.integers(0, 3, ROWS)], dtype=object)


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def columns(x: Any) -> dict[str, list[Any]]:
    return {f"x{i}": [None if missing(v) else v for v in column] for i, column in enumerate(np.asarray(x).T)}


def hold(estimator: Any, x: Any, given: dict[str, list[Any]] | None = None) -> None:
    """Every output of the read model equals the estimator's."""
    scores = read_estimator(estimator).score(columns(x) if given is None else given)
    assert scores.errors == {}
    found = scores.outputs
    if "transform" in found:
        want = estimator.transform(x)
        want = want.toarray() if hasattr(want, "toarray") else np.asarray(want, dtype=float)
        np.testing.assert_allclose(found["transform"], want, rtol=1e-7, atol=1e-12)
        return
    want = np.asarray(estimator.predict(x))
    if want.dtype.kind in "OUSb":
        assert list(found["predict"]) == want.tolist()
    else:
        names = ["predict"] if want.ndim == 1 else [f"predict[{i}]" for i in range(want.shape[1])]
        got = np.stack([found[name] for name in names], axis=-1).reshape(want.shape)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)
    shares = [name for name in found if name.startswith("probability(")]
    if shares:
        got = np.stack([found[name] for name in shares], axis=1)
        np.testing.assert_allclose(got, estimator.predict_proba(x), rtol=1e-8, atol=1e-12)
    if "decision" in found:
        np.testing.assert_allclose(found["decision"], np.ravel(estimator.decision_function(x)), rtol=1e-8, atol=1e-10)


LINEAR = linear_model.LogisticRegression
STUMP = tree.DecisionTreeClassifier(max_depth=3, random_state=0)

CLASSIFIERS: dict[str, Any] = {
    "logistic": LINEAR(),
    "sgd-log": linear_model.SGDClassifier(loss="log_loss", random_state=0),
    "sgd-huber": linear_model.SGDClassifier(loss="modified_huber", random_state=0),
    "sgd-hinge": linear_model.SGDClassifier(random_state=0),
    "ridge": linear_model.RidgeClassifier(),
    "linear-svc": svm.LinearSVC(random_state=0),
    "svc-rbf": svm.SVC(),
    "svc-poly": svm.SVC(kernel="poly", coef0=0.5, degree=2),
    "nu-svc": svm.NuSVC(nu=0.2, kernel="sigmoid"),
    "lda": discriminant_analysis.LinearDiscriminantAnalysis(),
    "qda": discriminant_analysis.QuadraticDiscriminantAnalysis(),
    "tree": tree.DecisionTreeClassifier(max_depth=5, random_state=0),
    "forest": ensemble.RandomForestClassifier(7, random_state=0),
    "extra": ensemble.ExtraTreesClassifier(7, random_state=0),
    "boosting": ensemble.GradientBoostingClassifier(n_estimators=8, random_state=0),
    "histogram": ensemble.HistGradientBoostingClassifier(max_iter=8, random_state=0),
    "ada": ensemble.AdaBoostClassifier(STUMP, n_estimators=6, random_state=0),
    "bagging": ensemble.BaggingClassifier(STUMP, n_estimators=4, max_features=2, random_state=0),
    "vote-hard": ensemble.VotingClassifier([("a", LINEAR()), ("b", STUMP), ("c", naive_bayes.GaussianNB())]),
    "vote-soft": ensemble.VotingClassifier([("a", LINEAR()), ("b", STUMP)], voting="soft", weights=[2, 1]),
    "stacking": ensemble.StackingClassifier([("a", LINEAR()), ("b", STUMP)], cv=3, passthrough=True),
    "calibrated-sigmoid": calibration.CalibratedClassifierCV(svm.LinearSVC(random_state=0), cv=3),
    "calibrated-isotonic": calibration.CalibratedClassifierCV(STUMP, method="isotonic", cv=3),
    "neighbours": neighbors.KNeighborsClassifier(5),
    "neighbours-distance": neighbors.KNeighborsClassifier(3, weights="distance", metric="manhattan"),
    "gaussian-bayes": naive_bayes.GaussianNB(),
    "bernoulli-bayes": naive_bayes.BernoulliNB(binarize=0.1),
    "network": neural_network.MLPClassifier((6, 3), max_iter=40, random_state=0),
    "network-tanh": neural_network.MLPClassifier((4,), activation="tanh", max_iter=40, random_state=0),
    "one-vs-rest": multiclass.OneVsRestClassifier(LINEAR()),
    "dummy": dummy.DummyClassifier(),
    "search": model_selection.GridSearchCV(LINEAR(), {"C": [0.1, 1.0]}, cv=2),
}


@pytest.mark.parametrize("target", [BINARY, MANY], ids=["two classes", "three classes"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_gives_its_own_labels_probabilities_and_decisions(name: str, target: Any) -> None:
    hold(CLASSIFIERS[name].fit(X, target), X)


def test_boosting_with_the_exponential_loss_halves_its_margin() -> None:
    hold(ensemble.GradientBoostingClassifier(loss="exponential", n_estimators=5).fit(X, BINARY), X)


def test_a_threshold_of_ones_own_cuts_the_label() -> None:
    hold(model_selection.FixedThresholdClassifier(LINEAR(), threshold=0.3).fit(X, BINARY), X)


@pytest.mark.parametrize("kind", [naive_bayes.MultinomialNB, naive_bayes.ComplementNB, naive_bayes.CategoricalNB])
def test_naive_bayes_of_counts_gives_its_own_probabilities(kind: Callable[[], Any]) -> None:
    counts = np.abs(np.round(X)).astype(int)
    hold(kind().fit(counts, MANY), counts)


REGRESSORS: dict[str, Any] = {
    "linear": linear_model.LinearRegression(),
    "ridge": linear_model.Ridge(),
    "lasso": linear_model.Lasso(0.01),
    "sgd": linear_model.SGDRegressor(random_state=0),
    "huber": linear_model.HuberRegressor(),
    "poisson": linear_model.PoissonRegressor(),
    "gamma": linear_model.GammaRegressor(),
    "tweedie": linear_model.TweedieRegressor(power=0),
    "tree": tree.DecisionTreeRegressor(max_depth=5, random_state=0),
    "forest": ensemble.RandomForestRegressor(7, random_state=0),
    "boosting": ensemble.GradientBoostingRegressor(n_estimators=8, random_state=0),
    "histogram": ensemble.HistGradientBoostingRegressor(max_iter=8),
    "histogram-poisson": ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=8),
    "ada": ensemble.AdaBoostRegressor(n_estimators=5, random_state=0),
    "bagging": ensemble.BaggingRegressor(n_estimators=4, random_state=0),
    "voting": ensemble.VotingRegressor([("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=2))]),
    "stacking": ensemble.StackingRegressor([("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor())], cv=3),
    "svr": svm.SVR(),
    "neighbours": neighbors.KNeighborsRegressor(4, weights="distance"),
    "network": neural_network.MLPRegressor(hidden_layer_sizes=(5,), activation="logistic", max_iter=40, random_state=0),
    "log-target": compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.log, inverse_func=np.exp),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_gives_its_own_predictions(name: str) -> None:
    hold(REGRESSORS[name].fit(X, np.abs(AMOUNT) + 0.1), X)


def test_several_targets_are_several_outputs() -> None:
    hold(linear_model.LinearRegression().fit(X, np.stack([AMOUNT, X[:, 2]], axis=1)), X)
    hold(ensemble.RandomForestRegressor(3, random_state=0).fit(X, np.stack([AMOUNT, X[:, 2]], axis=1)), X)


def test_isotonic_regression_is_linear_between_its_thresholds() -> None:
    hold(isotonic.IsotonicRegression(out_of_bounds="clip").fit(X[:, :1], AMOUNT), X[:, :1])


@pytest.mark.parametrize("kind", [ensemble.HistGradientBoostingClassifier, tree.DecisionTreeClassifier])
def test_trees_send_missing_values_where_training_sent_them(kind: Callable[..., Any]) -> None:
    hold(kind(random_state=0).fit(SPARSE, MANY), SPARSE)


def test_categorical_splits_send_unknown_categories_the_way_of_missing_values() -> None:
    model = ensemble.HistGradientBoostingRegressor(max_iter=10, categorical_features=[3]).fit(SPARSE, AMOUNT)
    rows = SPARSE.copy()
    rows[:5, 3] = 9.0
    hold(model, rows)


TRANSFORMERS: dict[str, Any] = {
    "standard": preprocessing.StandardScaler(),
    "min-max": preprocessing.MinMaxScaler((-1, 2), clip=True),
    "max-abs": preprocessing.MaxAbsScaler(),
    "robust": preprocessing.RobustScaler(),
    "normalize": preprocessing.Normalizer("l1"),
    "binarize": preprocessing.Binarizer(threshold=0.2),
    "polynomial": preprocessing.PolynomialFeatures(3),
    "spline": preprocessing.SplineTransformer(n_knots=4, include_bias=False),
    "quantile-uniform": preprocessing.QuantileTransformer(n_quantiles=20),
    "quantile-normal": preprocessing.QuantileTransformer(n_quantiles=20, output_distribution="normal"),
    "power": preprocessing.PowerTransformer(),
    "bins-hot": preprocessing.KBinsDiscretizer(4, encode="onehot"),
    "bins-ordinal": preprocessing.KBinsDiscretizer(4, encode="ordinal", strategy="uniform"),
    "pca": decomposition.PCA(2, whiten=True),
    "svd": decomposition.TruncatedSVD(2, random_state=0),
    "select": feature_selection.SelectKBest(feature_selection.f_regression, k=2),
    "function": preprocessing.FunctionTransformer(np.square),
    "union": pipeline.FeatureUnion([("a", preprocessing.StandardScaler()), ("b", decomposition.PCA(2))]),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformer_gives_its_own_columns(name: str) -> None:
    hold(TRANSFORMERS[name].fit(X, AMOUNT), X)


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
def test_missing_values_are_imputed_and_marked(strategy: str) -> None:
    hold(impute.SimpleImputer(strategy=strategy, add_indicator=True).fit(SPARSE), SPARSE)


@pytest.mark.parametrize(
    "encoder",
    [
        preprocessing.OneHotEncoder(handle_unknown="ignore"),
        preprocessing.OneHotEncoder(drop="first"),
        preprocessing.OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=38),
        preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        preprocessing.OrdinalEncoder(encoded_missing_value=-2),
        preprocessing.TargetEncoder(random_state=0),
    ],
    ids=str,
)
def test_encoders_code_texts_numbers_and_missing_categories(encoder: Any) -> None:
    x = np.empty((ROWS, 2), dtype=object)
    x[:, 0], x[:, 1] = CITIES, np.where(np.isnan(SPARSE[:, 3]), np.nan, X[:, 3])
    encoder.fit(x, AMOUNT)
    seen = x.copy()
    if "ignore" in str(encoder) or "infrequent" in str(encoder) or "unknown_value" in str(encoder):
        seen[0] = ["oslo", 17.0]
    hold(encoder, seen)


TEXT = feature_extraction.text


@pytest.mark.parametrize(
    "vectorizer",
    [
        TEXT.CountVectorizer(ngram_range=(1, 2), stop_words="english", strip_accents="unicode"),
        TEXT.CountVectorizer(binary=True, analyzer="char_wb", ngram_range=(2, 3)),
        TEXT.CountVectorizer(analyzer="char", ngram_range=(1, 2)),
        TEXT.TfidfVectorizer(sublinear_tf=True, strip_accents="ascii"),
        TEXT.HashingVectorizer(n_features=32),
        TEXT.HashingVectorizer(n_features=32, alternate_sign=False, norm="l1", lowercase=False),
        pipeline.make_pipeline(TEXT.CountVectorizer(), TEXT.TfidfTransformer()),
    ],
    ids=str,
)
def test_texts_become_the_same_counts(vectorizer: Any) -> None:
    hold(vectorizer.fit(TITLES), TITLES, {"x0": TITLES})


def test_a_hashed_text_of_a_million_columns_stays_sparse() -> None:
    model = pipeline.make_pipeline(TEXT.HashingVectorizer(), LINEAR()).fit(TITLES, BINARY)
    hold(model, TITLES, {"x0": TITLES})


def test_a_whole_pipeline_over_a_frame_keeps_the_names_of_columns() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"age": SPARSE[:, 0], "price": np.exp(X[:, 1]), "city": CITIES, "title": TITLES})
    numbers = pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler())
    steps = compose.ColumnTransformer(
        [
            ("numbers", numbers, ["age"]),
            ("log", preprocessing.FunctionTransformer(np.log1p), ["price"]),
            ("city", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city"]),
            ("title", TEXT.TfidfVectorizer(), "title"),
        ]
    )
    for last in (LINEAR(), ensemble.GradientBoostingClassifier(n_estimators=5)):
        model = pipeline.make_pipeline(steps, last).fit(frame, BINARY)
        given = {name: [None if missing(v) else v for v in frame[name].tolist()] for name in frame}
        read = read_estimator(model)
        assert set(read.inputs) == set(frame)
        hold(model, frame, given)


def test_clusters_mixtures_and_outliers_are_found_again() -> None:
    hold(cluster.KMeans(3, n_init=2, random_state=0).fit(X), X)
    for kind in ("full", "tied", "diag", "spherical"):
        hold(mixture.GaussianMixture(2, covariance_type=kind, random_state=0).fit(X), X)
    model = ensemble.IsolationForest(n_estimators=9, max_features=3, random_state=0).fit(X)
    hold(model, X)
    scores = read_estimator(model).score(columns(X)).outputs["score_samples"]
    np.testing.assert_allclose(scores, model.score_samples(X), rtol=1e-9)


def test_an_unfitted_estimator_and_one_that_is_not_known_are_refused() -> None:
    with pytest.raises(ConfigError, match="not fitted"):
        read_estimator(LINEAR())
    with pytest.raises(ConfigError, match="is not supported") as caught:
        read_estimator(cluster.DBSCAN().fit(X)) if hasattr(cluster.DBSCAN, "predict") else read_estimator(
            decomposition.KernelPCA(2).fit(X)
        )
    assert caught.value.code == "unsupported_element"
