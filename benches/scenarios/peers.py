"""Other programs with the same corpus and the same questions."""

import time
from collections.abc import Iterable

from benches.cache import Cache, Corpus
from benches.figures import Recorder
from benches.peers import PEERS
from benches.peers.base import Peer, Question, questions
from benches.questions import sample

ASK_AGAIN_S = 0.5  # quick questions are asked five times
ASK_AGAIN = 5
Answers = dict[str, object]


def peers(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """MikroScope, sqlite-utils, DuckDB, grep and jq: load, page, count, group; same answers."""
    missing = {name: make.missing() for name, make in PEERS.items()}
    record.notes += [f"{name} left out: {why}" for name, why in missing.items() if why]
    present = {name: make for name, make in PEERS.items() if not missing[name]}
    one = sample(corpus, 1)[0]
    asked = questions(one["tenantId"], one["orderId"])
    for _ in record.rounds():
        answers = {}
        for name, make in present.items():
            with cache.scratch() as scratch:
                peer = make(corpus, scratch)
                _load(name, peer, corpus, record)
                with peer:
                    answers[name] = _ask_all(name, peer, asked, record)
        _compare(answers)
    record.notes.append(f"{', '.join(present)} gave the same answers to every question")


def _load(name: str, peer: Peer, corpus: Corpus, record: Recorder) -> None:
    began = time.perf_counter()
    peer.insert()
    if size := peer.size():
        record.add(figure(name, "load"), "s", time.perf_counter() - began)
        record.add(figure(name, "size relative to raw bytes"), "×", size / corpus.size)


def _ask_all(name: str, peer: Peer, asked: dict[str, list[Question]], record: Recorder) -> Answers:
    """Ask one peer everything; return its answers by question."""
    ask = {"page": peer.page, "count": peer.count, "group": peer.groups}
    answers: Answers = {}
    for kind, kind_questions in asked.items():
        for question in kind_questions:
            taken: list[float] = []
            again = record.samples(ASK_AGAIN)
            while not taken or (sum(taken) < ASK_AGAIN_S * 1000 and len(taken) < again):
                began = time.perf_counter()
                answers[f"{kind}: {question.name}"] = ask[kind](question)
                taken.append((time.perf_counter() - began) * 1000)
            record.add_latencies(figure(name, f"{kind}: {question.name}"), taken)
    return answers


def _compare(answers: dict[str, Answers]) -> None:
    """Raise AssertionError if two peers answer differently."""
    (first, expected), *others = answers.items()
    for name, given in others:
        for question, answer in given.items():
            if answer != expected[question]:
                raise AssertionError(f"{name} answers '{question}' differently from {first}")


def measured(figures: Iterable[str]) -> list[str]:
    """Return the peers that have figures, in their usual order."""
    found = {name.partition(figure("", ""))[0] for name in figures}
    return [peer for peer in PEERS if peer in found]


def figure(peer: str, what: str) -> str:
    """Return the name of a peer's figure."""
    return f"{peer} | {what}"
