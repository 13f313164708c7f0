"""A public test set as a folder and questions that ``bench/quality.py`` takes.

    python bench/public.py SOURCE FOLDER QUESTIONS.json [--at-least 0]

``SOURCE`` is a folder that holds a set in one of two forms; sets are not part of this repository:

* that of the BEIR collection (SciFact, NFCorpus and others): ``corpus.jsonl``, ``queries.jsonl``, ``qrels/test.tsv``;
* Semanlink, bookmarks of a researcher with his notes, abstracts of papers and topics: ``docs.json`` and ``tags.json``,
  as the source distribution of the Python package ``cherche`` 2.2.1 (MIT licence) carries them under
  ``cherche/data/semanlink``. A question is the name of a topic that stands on three documents or more; those answer it.

``--at-least`` leaves out documents with fewer characters: most of Semanlink's have a title and nothing else. Documents
are written under ``d/`` by number: one name is never a part of another, and no name says a word that is asked for.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LEAST_ANSWERS = 3
NOT_TOPICS = frozenset({"arxiv_doc"})
"""Says where a document was found; every abstract has it."""


class Text(NamedTuple):
    id: str
    title: str
    body: str


class Public(NamedTuple):
    texts: list[Text]
    asked: dict[str, str]
    """Questions by id."""
    answers: dict[str, list[str]]
    """Ids of the texts that answer, by the id of the question."""


def read_beir(source: Path) -> Public:
    def lines(name: str) -> Iterator[dict[str, str]]:
        with (source / name).open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    answers: dict[str, list[str]] = defaultdict(list)
    with (source / "qrels" / "test.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if int(row["score"]) > 0:
                answers[row["query-id"]].append(row["corpus-id"])
    return Public(
        [Text(each["_id"], each.get("title", ""), each["text"]) for each in lines("corpus.jsonl")],
        {each["_id"]: each["text"] for each in lines("queries.jsonl")},
        answers,
    )


def read_semanlink(source: Path) -> Public:
    topics = json.loads((source / "tags.json").read_text(encoding="utf-8"))
    texts, answers = [], defaultdict(list)
    for each in json.loads((source / "docs.json").read_text(encoding="utf-8")):
        texts.append(Text(each["document"], each["title"], f"{each['comment']}\n\n{each['arxiv_summary']}"))
        for topic in each["tag"]:
            if topic.rpartition("/")[2] not in NOT_TOPICS:
                answers[topic].append(each["document"])
    asked = {topic: about["prefLabel"][0] for topic, about in topics.items() if about["prefLabel"]}
    return Public(texts, asked, answers)


def write(found: Public, folder: Path, at_least: int, least_answers: int) -> list[dict[str, object]]:
    """Writes the documents and returns the questions."""
    names: dict[str, str] = {}
    (folder / "d").mkdir(parents=True)
    for number, text in enumerate(found.texts):
        title, body = " ".join(text.title.split()), text.body.replace("\r\n", "\n").strip()
        if len(title) + len(body) >= at_least:
            names[text.id] = f"d/{number:06}.md"
            (folder / names[text.id]).write_text(f"# {title}\n\n{body}\n", encoding="utf-8")
    questions: list[dict[str, object]] = []
    for question, answers in sorted(found.answers.items()):
        relevant = [names[each] for each in answers if each in names]
        if question in found.asked and len(relevant) >= least_answers:
            questions.append({"query": found.asked[question], "relevant": relevant})
    return questions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--at-least", type=int, default=0)
    options = parser.parse_args()
    if (options.source / "corpus.jsonl").exists():
        questions = write(read_beir(options.source), options.folder, options.at_least, 1)
    else:
        questions = write(read_semanlink(options.source), options.folder, options.at_least, LEAST_ANSWERS)
    options.questions.write_text(json.dumps(questions, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(questions)} questions in {options.questions}")


if __name__ == "__main__":
    main()
