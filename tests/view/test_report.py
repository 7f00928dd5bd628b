"""The page holds the facts, asks for nothing from outside, and can't be broken by a name in the data."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from icp_ml.errors import NotEnoughDataError
from icp_ml.insight.wording import forbidden_words
from icp_ml.view.quality import WITHIN_LUCK, gap_lines
from icp_ml.view.report import render_report, write_report

from .samples import evaluation, model, rejects

VOID = {"meta", "br"}


class Outline(HTMLParser):
    """Collects tags, attributes and whether every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def text_of(page: str) -> str:
    body = page.split("</style>")[1]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_page_is_well_formed_and_asks_for_nothing_from_outside():
    page = render_report(model(), evaluation=evaluation(), rejects=rejects())

    found = outline(page)

    assert "script" not in found.tags
    assert found.links == []
    assert "url(" not in page
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page) == []


def test_each_accepted_trait_stands_with_rate_base_interval_adjusted_n_and_q():
    text = text_of(render_report(model()))

    for fact in (
        "employees 200 to 999",
        "94 %",
        "85 %",
        "+9.0 (+4.0 to +13.0)",
        "+6.0",
        "212",
        "14 %",
        "0.004",
    ):
        assert fact in text


def test_roles_are_sections_and_an_empty_role_says_so():
    page = render_report(model())

    order = [page.index(f'id="{role}"') for role in ("must_have", "nice_to_have", "hard_no", "caution")]
    assert order == sorted(order)
    assert "None with enough evidence." in page[order[1] : order[2]]


def test_what_was_not_told_is_listed_with_the_accounts_it_would_take():
    page = render_report(model())
    section = page[page.index('id="not-enough"') :]

    assert "2 traits without enough evidence" in section
    assert "region is LATAM" in section
    assert "4,100" in section


def test_the_sentence_is_the_one_that_the_evidence_permits():
    text = text_of(render_report(model()))

    assert "Such accounts are retained more often, also among otherwise similar accounts." in text
    assert "probably a stand-in for employees" in text


def test_headline_says_so_when_nothing_holds_up():
    nothing = model(traits=model().profile.traits.query("kind == 'not_enough_evidence'"))

    assert "No trait of 1,500 accounts can be told from luck" in render_report(nothing)


def test_detectable_effect_stands_at_the_top():
    page = render_report(model())

    assert page.index("differences below 11 points") < page.index('id="must_have"')


def test_names_from_the_data_are_escaped_everywhere():
    attack = "<script>alert('x')</script>"
    planted = model(tool=attack)

    page = render_report(planted, evaluation=evaluation(), rejects=rejects(rule=attack), title=attack)

    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    outline(page)


def test_quality_stands_beside_logistic_and_base_rate_with_interval_and_n():
    text = text_of(render_report(model(), evaluation=evaluation()))

    for fact in ("AUC", "0.712", "0.655 to 0.768", "0.690", "0.500", "1,104"):
        assert fact in text
    assert "lift_decile_3" not in text


def test_without_an_evaluation_the_page_says_that_nothing_was_measured():
    page = render_report(model())

    assert "Not measured for this report" in page
    assert "Calibration" not in page


def test_data_facts_say_what_was_left_out_and_what_limits_the_claims():
    text = text_of(render_report(model(), rejects=rejects()))

    assert "Censored (horizon unfinished; neither kept nor lost) 310 rows left out" in text
    assert "Locked in (could not leave within the horizon) 42 rows left out" in text
    assert "Not point-in-time (past snapshots see today’s value) industry" in text
    assert "tenure_days" in text
    assert "negative_arr" in text
    assert "17 rows refused at the door" in text
    assert "Association, not cause" in text


def test_words_of_cause_are_never_used_but_to_deny_them():
    text = text_of(render_report(model(), evaluation=evaluation(), rejects=rejects()))

    assert forbidden_words(text.replace("Association, not cause", "")) == []


def test_same_input_same_bytes(tmp_path):
    first = write_report(tmp_path / "deep" / "a.html", model(), evaluation=evaluation())
    second = write_report(tmp_path / "b.html", model(), evaluation=evaluation())

    assert first.read_bytes() == second.read_bytes()


def test_a_model_without_profile_is_refused():
    with pytest.raises(NotEnoughDataError, match="profile=False"):
        render_report(model(profile=None))


def test_facts_of_another_dataset_can_be_shown():
    page = render_report(model(), facts={"dropped": {"censored": 7}})

    assert "7 rows left out" in page
    assert "310 rows" not in page


def test_unknown_numbers_are_dashes_and_never_nan():
    traits = model().profile.traits.copy()
    traits[["adjusted_effect", "adjusted_low", "adjusted_high", "q_value", "accounts_needed"]] = float("nan")
    frame = evaluation()
    frame.metrics["logistic"] = float("nan")

    text = text_of(render_report(model(traits=traits), evaluation=frame))

    assert re.search(r"\bnan\b", text, flags=re.IGNORECASE) is None
    assert "could not be estimated" in text


def test_a_gap_to_the_folds_is_told_where_it_is_more_than_luck():
    measured = evaluation()
    (line,) = gap_lines(measured)
    assert line.startswith("retention: AUC 0.712, promised by the folds of the training 0.801")
    assert "−0.151 to −0.027): worse, by more than luck" in line
    assert line in text_of(render_report(model(), evaluation=measured))

    measured.gaps["beyond_luck"] = False
    assert gap_lines(measured) == [WITHIN_LUCK]
    for name, gap, said in (
        ("log_loss", -0.1, "better"),
        ("calibration_slope", -0.4, "too sure"),
        ("calibration_slope", 0.4, "not sure enough"),
    ):
        measured.gaps.loc[1, ["name", "gap", "beyond_luck"]] = [name, gap, True]
        assert f"{said}, by more than luck" in gap_lines(measured)[0]
    measured.gaps[["low", "high"]] = float("nan")
    assert gap_lines(measured) == gap_lines(None) == []


def test_segments_show_conditions_and_decidability():
    text = text_of(render_report(model()))

    assert "employees 200 to 999 and uses Slack" in text
    assert "88 %" in text


def test_what_does_as_well_as_a_segment_stands_with_it():
    equal = {"target": "retained", "segment": "Mid-size with Slack", "name": "industry is Fintech"}
    other = {**equal, "target": "expanded", "name": "region is EMEA"}
    facts = {**model().profile.facts, "runners_up": [equal, other]}

    text = text_of(render_report(model(facts=facts)))

    assert "employees 200 to 999 and uses Slack as well: industry is Fintech" in text
    assert "region is EMEA" not in text
    assert "as well:" not in text_of(render_report(model()))


def test_no_segments_is_said():
    empty = model(segments=model().profile.segments.iloc[:0])

    assert "No combination of traits held up" in render_report(empty)


def test_a_base_without_dates_is_described():
    page = render_report(model(first_snapshot=None))

    assert "labelled accounts without dates" in page


def test_rejects_of_a_clean_base_are_not_listed():
    clean = rejects()
    clean.frame = clean.frame.iloc[:0]
    clean.table = pd.DataFrame({"table": [], "rule": [], "n": []})

    assert "refused at the door" not in render_report(model(), rejects=clean)
