"""A text is foreign data: whatever is bent in it, it is read as before or refused by name, soon."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from icp_ml import FastTreeContributions
from icp_ml.errors import BundleError, IcpError, InputMismatchError
from icp_ml.model.fasttree.groups import Effort
from icp_ml.model.fasttree.parse import parse_model
from icp_ml.model.fasttree.sound import SAVED, STUMPS, check_bins
from icp_ml.model.members import AdditiveMember, TreeMember, member_from_state
from icp_ml.model.treetexts import MOST_TEXTS, read_texts

from .boosters import KINDS, N_FEATURES, make_rows, train

Change = Callable[[list[str]], list[str]]


@pytest.fixture(scope="module")
def text() -> str:
    return str(train({"num_leaves": 8}, rounds=4, seed=3, native=False).model_to_string())


@pytest.fixture(scope="module")
def stumps() -> str:
    return str(train({"num_leaves": 2}, rounds=4, seed=3, native=False).model_to_string())


def bent(text: str, field: str, change: Change, tree: int = 1) -> str:
    """Change the list of one field of one tree."""
    head, *trees = text.split("\nTree=")

    def changed(found: re.Match[str]) -> str:
        return f"{field}=" + " ".join(change(found[1].split()))

    trees[tree], n = re.subn(rf"^{field}=(.*)$", changed, trees[tree], count=1, flags=re.M)
    assert n == 1
    return "\nTree=".join([head, *trees])


def first(value: object) -> Change:
    return lambda tokens: [str(value), *tokens[1:]]


def second(value: object) -> Change:
    return lambda tokens: [tokens[0], str(value), *tokens[2:]]


def swapped(tokens: list[str]) -> list[str]:
    return [tokens[0], tokens[0], *tokens[2:]]


BENT: list[tuple[str, Change]] = [
    *[("split_feature", first(v)) for v in (N_FEATURES, 10**6, -1, -(10**12), 2**64, "1.5", "x", "nan")],
    *[("left_child", first(v)) for v in (0, 99, -99, 2**63, "-")],
    *[("right_child", first(v)) for v in (0, 7, -9, "1e3")],
    ("left_child", swapped),
    ("left_child", second(1)),
    *[("threshold", first(v)) for v in ("nan", "abc", "")],
    *[("decision_type", first(v)) for v in (1, 4, 6, 12, -1, 255, 2**40)],
    *[("leaf_value", first(v)) for v in ("nan", "inf", "-inf", "1e400", "1e300", "one")],
    *[("leaf_count", first(v)) for v in (0, -5, "nan", "inf", 10**9)],
    *[("internal_count", first(v)) for v in (0, -5, "nan", 1)],
    *[("internal_count", second(v)) for v in (0, 10**9)],
    *[
        (field, change)
        for field in ("split_feature", "threshold", "left_child", "leaf_value", "leaf_count")
        for change in (lambda tokens: tokens[:-1], lambda tokens: [*tokens, "1"], lambda tokens: [])
    ],
    *[("num_leaves", first(v)) for v in (0, 1, 7, 9, -3, 10**12, "x", "8.0", "")],
    *[("is_linear", first(v)) for v in (1, "x")],
]  # fmt: skip


@pytest.mark.parametrize(("field", "change"), BENT, ids=lambda value: value if isinstance(value, str) else "")
def test_a_bent_tree_is_refused_by_file_and_field(text: str, field: str, change: Change) -> None:
    with pytest.raises(BundleError, match=r"^expanded\.deep_0\.txt: .*") as caught:
        member_from_state({"kind": "trees"}, [bent(text, field, change)], N_FEATURES, ["expanded.deep_0.txt"])
    assert caught.value.facts["file"] == "expanded.deep_0.txt"
    assert caught.value.facts["field"]


DEEP = "[" * 99_999
HEADS = {
    "feature missing": lambda text: text.replace("feature_names=Column_0 ", "feature_names="),
    "max_feature_idx": lambda text: text.replace("max_feature_idx=7", "max_feature_idx=300"),
    "huge max_feature_idx": lambda text: text.replace("max_feature_idx=7", f"max_feature_idx={2**64}"),
    "classes": lambda text: text.replace("num_class=1", "num_class=1000000000"),
    "trees per iteration": lambda text: text.replace("tree_per_iteration=1", "tree_per_iteration=x"),
    "categories": lambda text: text.replace("pandas_categorical:null", "pandas_categorical:[[1]]"),
    "deep categories": lambda text: text.replace("pandas_categorical:null", f"pandas_categorical:{DEEP}"),
    "categories a number": lambda text: text.replace("pandas_categorical:null", "pandas_categorical:7"),
    "empty": lambda text: "",
    "no head": lambda text: text[text.index("\nTree=0") :],
    "cut off": lambda text: text[: len(text) // 3],
    "no trees but many": lambda text: text + "\nTree=" * 5000,
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_a_bent_head_is_refused(text: str, name: str) -> None:
    with pytest.raises(BundleError):
        TreeMember((HEADS[name](text),), N_FEATURES)


@pytest.mark.parametrize("native", [False, True])
def test_bytes_flipped_at_random_are_refused_or_give_finite_scores(native: bool) -> None:
    """The public class reads any booster, also with categories; then numbers may be anything but lost."""
    kind = KINDS["big_categories"] if native else {"num_leaves": 8}
    text, X = str(train(kind, rounds=3, seed=1).model_to_string()), make_rows(50, 2)
    rng = np.random.default_rng(0)
    start, end = text.index("\nTree=0"), text.index("end of trees")
    outcomes = set()
    for _ in range(150):
        letters = list(text)
        for at in rng.integers(start, end, 3):
            letters[at] = str(rng.choice(list("0123456789 -.en=\n")))
        try:
            member = FastTreeContributions("".join(letters), max_table_mb=1, backend="numpy")
        except InputMismatchError:
            outcomes.add("refused")
            continue
        assert member.contributions(X).shape == (50, N_FEATURES + 1)
        outcomes.add("read")
    assert outcomes == {"refused", "read"}


def chain(n: int, feature: Callable[[int], int], threshold: Callable[[int], float]) -> str:
    """Return a text whose one tree is a line of splits."""
    lists = {
        "num_leaves": [n + 1],
        "num_cat": [0],
        "split_feature": [feature(i) for i in range(n)],
        "threshold": [threshold(i) for i in range(n)],
        "decision_type": [2] * n,
        "left_child": [-i - 1 for i in range(n)],
        "right_child": [*range(1, n), -n - 1],
        "leaf_value": [0.5] * (n + 1),
        "leaf_count": [1] * (n + 1),
        "internal_count": [n + 1 - i for i in range(n)],
        "is_linear": [0],
    }
    lines = [f"{key}={' '.join(map(str, values))}" for key, values in lists.items()]
    names = " ".join(f"c{i}" for i in range(8))
    head = f"tree\nmax_feature_idx=7\nfeature_names={names}\n"
    return "\n".join([head, "Tree=0", *lines, "", "end of trees", "", "pandas_categorical:null", ""])


def test_what_is_too_large_is_refused_before_work_is_done() -> None:
    """Sixty thousand thresholds of one feature: masks of them would be gigabytes."""
    bomb = chain(60_000, lambda i: 0, float)
    with pytest.raises(BundleError, match="at most 256 leaves"):
        TreeMember((bomb,), 8)
    with pytest.raises(InputMismatchError, match="bins of all splits"):
        FastTreeContributions(bomb)
    with pytest.raises(BundleError, match="splits above a leaf"):
        TreeMember((chain(30, lambda i: i % 8, float),), 8)
    with pytest.raises(BundleError, match="leaves of a tree"):
        AdditiveMember.from_texts((chain(2, lambda i: 0, float),), 8)
    wide = [chain(12, lambda i: 0, lambda i, bag=bag: 99.0 * bag + i) for bag in range(3)]
    with pytest.raises(InputMismatchError, match="bins of all splits"):
        check_bins(np.zeros(36, dtype=np.int64), np.arange(36.0), most_bits=1000)
    assert len(read_texts(wide, SAVED, 8)) == 3
    for texts in ([], wide[:1] * (MOST_TEXTS + 1)):
        with pytest.raises(BundleError, match="model texts"):
            read_texts(texts, SAVED, 8)


def test_a_circle_beside_the_root_is_no_tree() -> None:
    """Each node has one parent, and yet two of them are never reached."""
    text = chain(4, lambda i: i, float).replace("left_child=-1 -2 -3 -4", "left_child=-1 2 1 -4")
    text = text.replace("right_child=1 2 3 -5", "right_child=-2 -3 3 -5")
    with pytest.raises(InputMismatchError, match="a circle"):
        parse_model(text)


def test_all_boosters_are_read_as_before(stumps: str, text: str) -> None:
    for kind in KINDS.values():
        booster = train(kind, rounds=3)
        assert len(parse_model(booster.model_to_string()).trees) == 3
    assert len(parse_model(text, SAVED).trees) == len(parse_model(stumps, STUMPS).trees) == 4
    numbers = parse_model(text).trees[2].leaf_value
    line = re.findall(r"^leaf_value=(.*)$", text, flags=re.M)[2]
    np.testing.assert_array_equal(numbers, [float(token) for token in line.split()])


def test_texts_of_a_bag_are_for_the_columns_of_the_encoder(text: str) -> None:
    with pytest.raises(BundleError, match="expected models of 9 encoded columns, found models of 8"):
        member_from_state({"kind": "trees"}, [text], 9)
    other = text.replace("max_feature_idx=7", "max_feature_idx=8").replace(
        "feature_names=", "feature_names=a "
    )
    with pytest.raises(BundleError, match="text 1: expected a model of 8 columns"):
        TreeMember((text, other))
    with pytest.raises(BundleError, match="os.system"):
        member_from_state({"kind": "os.system"}, [text], 8)


def test_packing_stops_at_its_effort_and_stays_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    booster, X = train({"num_leaves": 12}, rounds=20, seed=4, native=False), make_rows(60, 5)
    wanted = FastTreeContributions(booster)
    monkeypatch.setattr("icp_ml.model.fasttree.compile.Effort", lambda most: Effort(0))
    apart = FastTreeContributions(booster)
    assert len(apart._compiled.packed.groups) > len(wanted._compiled.packed.groups)
    np.testing.assert_allclose(apart.contributions(X), wanted.contributions(X), rtol=0, atol=1e-12)


def test_lightgbm_is_not_given_what_was_saved(text: str) -> None:
    """Its reader ends the process on a bent text, so that a saved one is scored without it."""
    code = (
        "import sys, numpy as np\nfrom icp_ml.model.members import TreeMember\n"
        "member = TreeMember((sys.stdin.read(),), 8)\n"
        "assert np.isfinite(member.raw(np.zeros((3, 8)))).all()\n"
        "assert 'lightgbm' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=text, text=True, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-1000:]


def test_errors_say_what_to_do_and_stay_short(text: str) -> None:
    with pytest.raises(IcpError) as caught:
        parse_model(bent(text, "threshold", first("x" * 5000)))
    assert len(str(caught.value)) < 300
