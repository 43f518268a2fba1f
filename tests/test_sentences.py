"""Sentence boundaries that Portuguese text gets wrong when read as English."""

from __future__ import annotations

import pytest

from sintese.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("O gato dorme. A gata caça.", ["O gato dorme.", "A gata caça."]),
        ("O Sr. João foi ao Dr. Silva. Voltou.", ["O Sr. João foi ao Dr. Silva.", "Voltou."]),
        ("A Dra. Ana saiu. Érica ficou.", ["A Dra. Ana saiu.", "Érica ficou."]),
        ("Há frutas, p. ex. Mangas. E pão.", ["Há frutas, p. ex. Mangas.", "E pão."]),
        ("Custa R$ 3.500,00. Caro!", ["Custa R$ 3.500,00.", "Caro!"]),
        ("Comprou pão, leite etc. e saiu.", ["Comprou pão, leite etc. e saiu."]),
        ("Comprou pão, leite etc. Depois saiu.", ["Comprou pão, leite etc.", "Depois saiu."]),
        ("(pão, etc.) Depois saiu.", ["(pão, etc.)", "Depois saiu."]),
        ("O Gov. Mário, na Av. Paulista. Fim.", ["O Gov. Mário, na Av. Paulista.", "Fim."]),
        ("Nasceu na R. Augusta, em Sta. Rita.", ["Nasceu na R. Augusta, em Sta. Rita."]),
        ("Em 5 de set. 1994. Depois, nada.", ["Em 5 de set. 1994.", "Depois, nada."]),
        ("Foi ao mar. Depois voltou.", ["Foi ao mar.", "Depois voltou."]),
        ("São aprox. 30 casas. Poucas.", ["São aprox. 30 casas.", "Poucas."]),
        ("O séc. XX acabou. Enfim.", ["O séc. XX acabou.", "Enfim."]),
        ("Em 1994. O Brasil venceu.", ["Em 1994.", "O Brasil venceu."]),
        ("“Vamos!” Ela saiu.", ["“Vamos!”", "Ela saiu."]),
        ("Você vem? Não. Talvez...", ["Você vem?", "Não.", "Talvez..."]),
        ("Ele calou... Depois falou.", ["Ele calou...", "Depois falou."]),
        ("Ele calou… Depois falou.", ["Ele calou…", "Depois falou."]),
        ("Ele calou… e falou.", ["Ele calou… e falou."]),
        ("Leia www.folha.com.br. É bom.", ["Leia www.folha.com.br.", "É bom."]),
    ],
)
def test_abbreviations_and_ends(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


def test_a_line_break_is_a_boundary_even_without_a_stop() -> None:
    assert split_sentences("Manchete do dia\n\nO texto\r\ncontinua. Fim.") == [
        "Manchete do dia",
        "O texto",
        "continua.",
        "Fim.",
    ]


def test_white_space_becomes_one_space_so_that_no_break_space_does_not_hide_an_end() -> None:
    assert split_sentences("  Um\t dois.\u00a0Três  quatro. ") == ["Um dois.", "Três quatro."]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\t\u00a0"])
def test_blank_text_has_no_sentence(text: str) -> None:
    assert split_sentences(text) == []


def test_no_word_is_lost() -> None:
    text = "O Sr. X disse: “Não!” — e saiu etc. Às 10h. (Fim?) Sim…\nOutro S.A. dia. 3.5 vezes."
    assert " ".join(split_sentences(text)).split() == text.split()
