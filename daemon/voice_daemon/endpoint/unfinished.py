"""Words that a command ends with or does not, by language: after some its speaker is given time.

A recogniser writes "Turn on." with a full stop, as if nothing could follow. Such texts, and those
of one or two words that are no whole command, wait for the whole silence.
"""

import re
from collections.abc import Mapping
from typing import Final

FEW_WORDS: Final = 2
"""A text of so few words is not known to be whole: "add milk", "turn on"."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+")

_OPEN_WORDS: Final[Mapping[str, str]] = {
    # Articles and the like, prepositions and particles, conjunctions, and verbs with their object
    # still to come.
    "en": """a an the this that these those my your our his her its their some any another each
        about above across after against along around as at before behind below beside between by
        down during for from in inside into like near of off on onto out outside over past per
        through to toward towards under until up upon via with within without
        and or but nor than then so because if when while where which who whose
        i me is are was were be been can could will would shall should may might must do does did
        have has had let also
        turn switch set make put add remove play open close start stop call send show tell ask
        give take bring dim raise lower increase decrease change move remind wake create find
        read write buy order search look schedule cancel resume skip lock unlock""",
    "de": """der die das den dem des ein eine einen einem einer eines mein meine meinen meinem
        meiner dein deine unser unsere kein keine dieser diese dieses diesen diesem jeder jede jedes
        an auf aus bei bis durch für gegen hinter im in ins nach neben ohne seit über um unter
        vom von vor während wegen zu zum zur zwischen am ans beim mit ab ein hoch runter weg los
        und oder aber denn weil dass wenn als ob sowie noch auch
        ich mir mich ist sind war kann kannst könntest soll sollst will würde würdest hast hat
        mach mache schalte schalt stell stelle setz setze spiel spiele öffne schließ schließe
        schließen füge starte stoppe ruf rufe zeig zeige sag sage gib nimm bring dimme erhöhe
        senke ändere erinnere weck wecke such suche lies kauf kaufe""",
    "fr": """le la les l' un une des du de d' au aux ce cet cette ces mon ma mes ton ta tes son sa
        ses notre votre leur à dans sur sous vers avec sans pour par en chez entre avant après
        pendant depuis jusque jusqu'à et ou mais car que qui si quand comme ne
        je me moi est sont peux peut pouvez veux voudrais
        allume allumez éteins éteignez mets mettez ouvre ouvrez ferme fermez joue jouez ajoute
        ajoutez règle réglez lance lancez arrête arrêtez appelle montre dis donne baisse monte
        augmente change rappelle réveille cherche lis""",
    "es": """el la los las lo un una unos unas del al este esta estos estas ese esa mi mis tu tus su
        sus a ante bajo con contra de desde durante en entre hacia hasta para por según sin sobre
        tras y e o u pero que si cuando como donde
        me es son está puedes puede quiero quisiera
        enciende encienda apaga apague pon ponga abre abra cierra cierre añade agrega reproduce toca
        ajusta configura sube baja llama muestra di da busca cambia recuérdame despiértame""",
    "it": """il lo la i gli le l' un uno una un' del dello della dei degli delle al allo alla ai
        agli alle dal dalla nel nello nella nei nelle sul sulla sui questo questa quel quella mio
        mia tuo tua suo sua a da di in con su per tra fra e o ma che se quando come
        mi è sono puoi può voglio vorrei
        accendi spegni metti apri chiudi aggiungi riproduci suona imposta alza abbassa chiama
        mostra dimmi dammi cerca cambia ricordami svegliami""",
    "nl": """de het een deze die dit dat mijn jouw je zijn haar ons onze hun geen
        aan achter af bij binnen boven door in langs met na naar naast of om onder op over per rond
        te tegen tot tussen uit van vanaf voor zonder en maar want omdat als dan
        ik me mij is kan kun kunt wil zou
        zet doe maak schakel open sluit speel voeg start stop bel toon zeg geef neem dim verhoog
        verlaag verander herinner wek zoek lees""",
    "pt": """o a os as um uma uns umas do da dos das no na nos nas ao à aos às este esta esse essa
        meu minha seu sua de em com por para pelo pela sem sob sobre entre até desde e ou mas que
        se quando como me é são pode quero
        ligue liga acenda acende desligue desliga apague apaga coloque põe abra abre feche fecha
        adicione adiciona toque toca ajuste aumente diminua chame mostre diga procure mude lembre
        acorde""",
}

_SHORT_COMMANDS: Final[Mapping[str, str]] = {
    "en": """stop, next, pause, resume, cancel, skip, mute, unmute, continue, repeat, previous,
        louder, quieter, help, yes, no, okay, enough, never mind, good night, good morning,
        thank you, be quiet, lights on, lights off, volume up, volume down, next song, next
        track, play music, stop it, cancel that, go back, skip this""",
    "de": """stopp, stop, halt, weiter, pause, abbrechen, abbruch, überspringen, lauter, leiser,
        hilfe, ja, nein, okay, genug, ruhe, zurück, gute nacht, guten morgen, danke, licht an,
        licht aus, nächstes lied, musik aus, vergiss es""",
    "fr": """stop, suivant, pause, annule, annuler, continue, répète, précédent, plus fort, moins
        fort, aide, oui, non, d'accord, assez, bonne nuit, bonjour, merci, chanson suivante,
        arrête""",
    "es": """para, siguiente, pausa, cancelar, cancela, continúa, repite, anterior, ayuda, sí, no,
        vale, basta, buenas noches, buenos días, gracias, más alto, más bajo, siguiente canción""",
    "it": """ferma, stop, avanti, prossimo, pausa, annulla, continua, ripeti, precedente, aiuto, sì,
        no, basta, buonanotte, buongiorno, grazie, più forte, più piano, prossima canzone""",
    "nl": """stop, volgende, pauze, pauzeer, annuleer, annuleren, verder, herhaal, vorige, harder,
        zachter, hulp, ja, nee, oké, genoeg, goedenacht, goedemorgen, dank je, lamp aan, lamp
        uit, licht aan, licht uit, volgende nummer""",
    "pt": """para, parar, próxima, próximo, pausa, cancelar, cancela, continua, repete, anterior,
        ajuda, sim, não, chega, boa noite, bom dia, obrigado, obrigada, mais alto, mais baixo""",
}

_TIMED_NOUNS: Final[Mapping[str, str]] = {
    # What is set to a time, which its command says last: "set a timer for five minutes".
    "en": "timer alarm reminder",
    "de": "timer wecker erinnerung",
    "fr": "minuteur alarme rappel",
    "es": "temporizador alarma recordatorio",
    "it": "timer sveglia promemoria",
    "nl": "timer wekker herinnering",
    "pt": "temporizador alarme lembrete",
}

_ENDING_VERBS: Final[Mapping[str, str]] = {
    # With what they end, they are whole: "cancel timer".
    "en": "cancel stop pause resume skip mute unmute snooze dismiss delete clear restart",
    "de": "stoppe stopp lösche beende pausiere brich",
    "fr": "annule annulez arrête arrêtez supprime supprimez mets",
    "es": "cancela cancele para pare detén borra elimina pausa",
    "it": "annulla ferma cancella elimina interrompi",
    "nl": "annuleer stop verwijder wis pauzeer",
    "pt": "cancela cancele para pare apaga apague",
}

_PARTED_VERBS: Final[Mapping[str, tuple[str, str]]] = {
    # Verbs, and what stands apart at the end of their sentence: "turn the light on".
    "en": ("turn switch put take bring is are", "on off up down in out away back over open"),
    "de": (
        "schalte schalt mach mache dreh drehe stell stelle fahr fahre zieh ziehe brich",
        "an aus ein auf zu ab hoch runter los weg weiter",
    ),
    "nl": ("zet doe schakel draai", "aan uit af op in open dicht"),
}


def _words(texts: Mapping[str, str]) -> dict[str, frozenset[str]]:
    return {language: frozenset(text.casefold().split()) for language, text in texts.items()}


_TIMED: Final = _words(_TIMED_NOUNS)
OPEN_WORDS: Final = {
    language: words | _TIMED[language] for language, words in _words(_OPEN_WORDS).items()
}
_ENDING: Final = _words(_ENDING_VERBS)
_PARTED: Final = {
    language: (frozenset(verbs.split()), frozenset(ends.split()))
    for language, (verbs, ends) in _PARTED_VERBS.items()
}
_FILLERS: Final = frozenset(("please", "bitte", "alsjeblieft", "alstublieft"))
SHORT_COMMANDS: Final = {
    language: frozenset(" ".join(text.split()) for text in texts.split(","))
    for language, texts in _SHORT_COMMANDS.items()
}


def _said(text: str) -> list[str]:
    """The words of a text, without those that mean nothing wherever they stand."""
    return [word for word in _WORD.findall(text.casefold()) if word not in _FILLERS]


def is_short_command(text: str, language: str) -> bool:
    """True for a text of few words that is a command as it is."""
    said = " ".join(_said(text))
    return said in SHORT_COMMANDS.get(language, ())


def is_unfinished(text: str, language: str) -> bool:
    """True where more may well follow `text`, whatever sign its recogniser put at its end.

    Of a language that is not listed, the number of words alone is known.
    """
    words = _said(text)
    if not words:
        return True
    if is_short_command(text, language):
        return False
    verbs, ends = _PARTED.get(language, (frozenset(), frozenset()))
    if words[-1] in ends and not verbs.isdisjoint(words[:-2]):
        return False
    ending = len(words) > 1 and words[0] in _ENDING.get(language, ())
    if ending and words[-1] in _TIMED.get(language, ()):
        return False
    if len(words) <= FEW_WORDS and not ending:
        return True
    return words[-1] in OPEN_WORDS.get(language, frozenset())
