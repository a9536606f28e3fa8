"""What the verbs that measure compute, by numpy, scikit-learn and torch: analysis.json, analysis.safetensors.

analysis: sparsity, intra-class distance, redundancy and coding length of features. logreg, sgd: linear classifiers on
features. compare: precision, recall, density and coverage (Naeem et al. 2020, the formulas of their package prdc, k = 5) and
the Vendi score (Friedman & Dieng 2023).
"""

import json
import os

import numpy
import sklearn
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, pairwise_distances

import hashed
from golden_measures import frechet, mixed
from golden_store import save_tensors

THRESHOLD, EPS2, K = 1e-5, 0.5, 5
CLASSES, COSTS = 4, [1e-3, 1, 100]


def features(name, rows, columns, shift=0.0):
    """Means of values that a ReLU cut, as an encoder gives them: some are zero, one column is zero everywhere."""
    x = numpy.maximum(mixed(name, rows, columns, shift), 0).astype(numpy.float32)
    x[:, 5] = 0
    return x


def labels(name, rows):
    return (hashed.bits(name, rows) % numpy.uint64(CLASSES)).astype(numpy.int64)


def moved(x, y):
    """The same features, each class a little away: so that there is something to learn, and not everything."""
    away = hashed.fill("analysis.away", (CLASSES, x.shape[1])).numpy()
    return (x + 0.7 * away[y]).astype(numpy.float32)


def unit(x):
    length = numpy.linalg.norm(x, axis=1, keepdims=True)
    return x / numpy.where(length > 0, length, 1)


def analyse(x, y):
    x = x.astype(float)
    n, d = x.shape
    z = unit(x)
    far = []
    for k in range(CLASSES):
        rows = pairwise_distances(z[y == k])
        if len(rows) > 1:
            far.append(rows[numpy.triu_indices(len(rows), 1)].mean())
    live = x.std(0) > 0
    correlation = numpy.corrcoef(x[:, live], rowvar=False)
    pairs = numpy.abs(correlation[numpy.triu_indices(live.sum(), 1)])
    return {"sparsity": (numpy.abs(x) < THRESHOLD).mean(), "intra_class_distance": numpy.mean(far),
            "feature_redundancy": pairs.mean(), "flat": int((~live).sum()),
            "coding_length": 0.5 * numpy.linalg.slogdet(numpy.eye(d) + d / (n * EPS2) * z.T @ z)[1]}


def logreg(x, y, tx, ty, cost):
    model = LogisticRegression(C=cost, tol=1e-12, max_iter=100000).fit(x.astype(float), y)
    named = model.predict(tx.astype(float))
    return {"C": cost, "weight": model.coef_.tolist(), "bias": model.intercept_.tolist(),
            "top1": float((named == ty).mean()), "mean_per_class": balanced_accuracy_score(ty, named)}


def sgd(x, y, epochs, lr, decay):
    """Full batches, so that there is no order: SGD with momentum on rows of length 1, the rate along a cosine."""
    x, y = torch.from_numpy(unit(x.astype(float))), torch.from_numpy(y)
    layer = torch.nn.Linear(x.shape[1], CLASSES).double()
    with torch.enable_grad():
        for p in layer.parameters():
            p.data.zero_()
        optimiser = torch.optim.SGD(layer.parameters(), lr=lr, momentum=0.9, weight_decay=decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
        for _ in range(epochs):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(layer(x), y).backward()
            optimiser.step()
            schedule.step()
    return {"epochs": epochs, "lr": lr, "decay": decay, "weight": layer.weight.tolist(), "bias": layer.bias.tolist()}


def prdc(real, made):
    real, made = real.astype(float), made.astype(float)
    reach_real = numpy.sort(pairwise_distances(real), axis=1)[:, K]
    reach_made = numpy.sort(pairwise_distances(made), axis=1)[:, K]
    far = pairwise_distances(real, made)
    inside = far < reach_real[:, None]
    return {"precision": inside.any(0).mean(), "recall": (far < reach_made[None]).any(1).mean(),
            "density": inside.sum(0).mean() / K, "coverage": (far.min(1) < reach_real).mean()}


def vendi(x):
    z = unit(x.astype(float))
    p = numpy.linalg.eigvalsh(z @ z.T / len(z))
    p = p[p > 0]
    return numpy.exp(-(p * numpy.log(p)).sum())


def cmmd(x, y):
    """The formula of google-research/cmmd: sigma 10, scale 1000, V-statistics."""
    x, y = unit(x.astype(float)), unit(y.astype(float))

    def mean(a, b):
        return numpy.exp(-(pairwise_distances(a, b) ** 2) / 200).mean()
    return 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


def make_analysis(out):
    sets = {"a": features("analysis.a", 60, 12, 0.3), "b": features("analysis.b", 45, 12, 0.1),
            "wide": features("analysis.wide", 9, 20)}
    named = {name: labels(f"analysis.{name}.labels", len(x)) for name, x in sets.items()}
    train, test = moved(sets["a"], named["a"]), moved(sets["b"], named["b"])
    values = {
        "about": {"numpy": numpy.__version__, "scikit-learn": sklearn.__version__, "torch": torch.__version__},
        "analysis": {name: analyse(sets[name], named[name]) for name in sets},
        "logreg": [logreg(train, named["a"], test, named["b"], cost) for cost in COSTS],
        "sgd": sgd(train, named["a"], 25, 2.0, 1e-3),
        "compare": prdc(sets["a"], sets["b"]) | {"frechet": frechet(sets["a"], sets["b"]), "cmmd": cmmd(sets["a"], sets["b"])},
        "vendi": {name: vendi(x) for name, x in sets.items()}}
    tensors = {name: torch.from_numpy(x) for name, x in (sets | {"train": train, "test": test}).items()}
    tensors |= {name + ".labels": torch.from_numpy(y) for name, y in named.items()}
    save_tensors(os.path.join(out, "analysis.safetensors"), tensors)
    with open(os.path.join(out, "analysis.json"), "w", encoding="ascii") as file:
        json.dump(values, file, indent=1, default=float)
        file.write("\n")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    make_analysis(os.path.dirname(os.path.abspath(__file__)))
