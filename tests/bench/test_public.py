"""Public test sets become a folder and questions: every document once, and the questions that have answers."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))
public, quality = import_module("public"), import_module("quality")


def test_a_set_in_the_form_of_beir_is_asked_and_measured(tmp_path: Path) -> None:
    source = tmp_path / "set"
    (source / "qrels").mkdir(parents=True)
    texts = [
        {"_id": "9", "title": "Lift", "text": "Why wings carry."},
        {"_id": "10", "title": "", "text": "Heat moves through plates."},
    ]
    asked = [{"_id": "1", "text": "why do wings carry"}, {"_id": "2", "text": "plates and heat"}]
    (source / "corpus.jsonl").write_text("".join(json.dumps(each) + "\n" for each in texts))
    (source / "queries.jsonl").write_text("".join(json.dumps(each) + "\n" for each in asked))
    (source / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\t9\t2\n1\t10\t0\n2\t10\t1\n")
    questions = public.write(public.read_beir(source), tmp_path / "texts", 0, 1)
    assert questions == [
        {"query": "why do wings carry", "relevant": ["d/000000.md"]},
        {"query": "plates and heat", "relevant": ["d/000001.md"]},
    ]
    assert (tmp_path / "texts" / "d" / "000000.md").read_text() == "# Lift\n\nWhy wings carry.\n"
    (tmp_path / "questions.json").write_text(json.dumps(questions))
    measured = quality.measure(
        tmp_path / "texts", quality.read_questions(tmp_path / "questions.json", None), tmp_path / "index.db", tmp_path
    )
    assert measured["questions satchel"] == {**dict.fromkeys(quality.MEASURES, 1.0), "questions": 2}


@pytest.mark.parametrize(("at_least", "expected"), [(0, [0, 1, 2]), (20, None)])
def test_a_topic_of_semanlink_asks_for_the_documents_it_stands_on(
    tmp_path: Path, at_least: int, expected: list[int] | None
) -> None:
    def document(name: str, comment: str, *topics: str) -> dict[str, object]:
        tags = [f"http://x/tag/{topic}" for topic in topics]
        return {"document": name, "title": name, "comment": comment, "arxiv_summary": "", "tag": tags}

    documents = [
        document("one", "a note that is long enough", "maps", "arxiv_doc"),
        document("two", "another that is long enough", "maps", "arxiv_doc"),
        document("three", "", "maps", "arxiv_doc", "rare"),
    ]
    topics = {f"http://x/tag/{topic}": {"prefLabel": [topic.upper()]} for topic in ("maps", "arxiv_doc", "rare")}
    (tmp_path / "docs.json").write_text(json.dumps(documents))
    (tmp_path / "tags.json").write_text(json.dumps(topics))
    questions = public.write(public.read_semanlink(tmp_path), tmp_path / "texts", at_least, public.LEAST_ANSWERS)
    relevant = [f"d/{number:06}.md" for number in expected or ()]
    assert questions == ([{"query": "MAPS", "relevant": relevant}] if relevant else [])
    assert len(list((tmp_path / "texts" / "d").iterdir())) == (3 if at_least == 0 else 2)
