"""Generated clinical notes of two hospitals, tagged with entities: made up, and said to be so.

Each hospital has its own style (ward letters or emergency notes) and sees other diseases, drugs and symptoms, with some
in common, so that a model trained at one of them is weak at the other. A fifth of the terms stands in the test notes
only. Names are put together from the field's roots and endings, never taken from a patient or a text.
"""

import itertools
import random
from dataclasses import dataclass
from pathlib import Path

Sentence = list[tuple[str, str]]

ROOTS = (
    "cardio nephro hepato gastro neuro dermo osteo arthro pulmo broncho cysto entero encephalo myo angio adeno "
    "thyro spleno pancreato colo rhino laryngo phlebo chondro"
).split()
DISEASE_ENDINGS = "itis pathy oma osis sclerosis megaly stenosis plegia".split()
DRUG_STEMS = "al be cor dex el far gli ro len mar no ox pra que sul tra val xi zo bi ca du fe hy".split()
DRUG_ENDINGS = "pril olol sartan statin mycin cillin azole mab tinib parin dipine gliptin".split()
QUALIFIERS = "acute chronic recurrent bilateral severe congenital diffuse secondary".split()
SYMPTOM_KINDS = "pain swelling weakness numbness stiffness burning cramps rash tremor itching".split()
BODY_PARTS = (
    "chest abdomen knee shoulder wrist hip neck back calf forearm ankle scalp flank groin jaw elbow heel thigh"
).split()
PROCEDURE_STEMS = "echo endo lapar bronch arthr cyst colon gastr angi mamm".split()
PROCEDURE_ENDINGS = "oscopy ography ectomy oplasty otomy".split()

WARD = (
    "The patient was admitted with {disease} and complained of {symptom} .",
    "On examination we found {symptom} consistent with {disease} .",
    "Treatment with {drug} was started because of {disease} .",
    "After {procedure} the {symptom} improved and {drug} was stopped .",
    "There is a long history of {disease} , treated with {drug} and {drug} .",
    "We recommend {procedure} to rule out {disease} .",
    "The {procedure} showed no sign of {disease} .",
    "She denies {symptom} and has never taken {drug} .",
    "Family history is remarkable for {disease} in the mother .",
    "He was discharged in good condition without further treatment .",
    "Please continue {drug} until the next visit and report any {symptom} .",
    "The working diagnosis of {disease} was discussed with the family .",
)
EMERGENCY = (
    "pt c/o {symptom} x 3 days , hx {disease}",
    "r/o {disease} , {procedure} ordered",
    "{drug} 40 mg po bid given for {symptom}",
    "denies {symptom} , no {symptom}",
    "s/p {procedure} , now w/ {symptom}",
    "dx : {disease} . rx : {drug} , {drug}",
    "allergic to {drug} - rash",
    "brought in by ems , awake , vitals stable",
    "{disease} vs {disease} , f/u {procedure} in am",
    "hold {drug} , start {drug} iv",
    "{symptom} worse at night , better w/ {drug}",
    "known {disease} , no meds , wants to leave",
)
LABELS = {"disease": "Disease", "drug": "Drug", "symptom": "Symptom", "procedure": "Procedure"}


@dataclass(frozen=True)
class Hospital:
    """How many notes of which style, and which share of the terms it sees (see `terms`)."""

    name: str
    templates: tuple[str, ...]
    sees: tuple[int, ...]


HOSPITALS = (Hospital("hospital-a", WARD, (0, 1, 2)), Hospital("hospital-b", EMERGENCY, (2, 3, 4)))
SIZES = {"train": 900, "validation": 150, "test": 300}


def terms(random_: random.Random) -> dict[str, list[list[str]]]:
    """All terms of each kind, shuffled and dealt into five equal parts."""
    diseases = [root + ending for root, ending in itertools.product(ROOTS, DISEASE_ENDINGS)]
    diseases = [f"{random_.choice(QUALIFIERS)} {name}" if random_.random() < 0.4 else name for name in diseases]
    drugs = [a + b + ending for a, b in itertools.product(DRUG_STEMS, DRUG_STEMS[::3]) for ending in DRUG_ENDINGS[::3]]
    drugs += [stem + ending for stem, ending in itertools.product(DRUG_STEMS, DRUG_ENDINGS)]
    symptoms = [f"{part} {kind}" for part, kind in itertools.product(BODY_PARTS, SYMPTOM_KINDS)]
    procedures = [stem + ending for stem, ending in itertools.product(PROCEDURE_STEMS, PROCEDURE_ENDINGS)]
    dealt = {}
    for kind, names in (("disease", diseases), ("drug", drugs), ("symptom", symptoms), ("procedure", procedures)):
        random_.shuffle(names)
        dealt[kind] = [names[part::5] for part in range(5)]
    return dealt


def known(names: list[str], split: str) -> list[str]:
    """Train and validation see the first four fifths of a part; the test sees all."""
    return names if split == "test" else names[: max(1, len(names) * 4 // 5)]


def sentence(random_: random.Random, hospital: Hospital, dealt: dict[str, list[list[str]]], split: str) -> Sentence:
    words: Sentence = []
    for word in random_.choice(hospital.templates).split():
        if not word.startswith("{"):
            words.append((word, "O"))
            continue
        kind = word.strip("{}")
        parts = [name for part in hospital.sees for name in known(dealt[kind][part], split)]
        first, *rest = random_.choice(parts).split()
        words.append((first, f"B-{LABELS[kind]}"))
        words += [(each, f"I-{LABELS[kind]}") for each in rest]
    return words


def write(folder: Path, seed: int = 7) -> dict[str, Path]:
    """One folder per hospital with train.conll, validation.conll and test.conll; returns them by hospital."""
    random_ = random.Random(seed)  # noqa: S311 reproducible text, not a secret
    dealt = terms(random_)
    folders = {}
    for hospital in HOSPITALS:
        target = folder / hospital.name
        target.mkdir(parents=True, exist_ok=True)
        for split, size in SIZES.items():
            notes = (sentence(random_, hospital, dealt, split) for _ in range(size))
            text = "\n".join("".join(f"{word}\t{tag}\n" for word, tag in note) for note in notes)
            (target / f"{split}.conll").write_text(text)
        folders[hospital.name] = target
    return folders
