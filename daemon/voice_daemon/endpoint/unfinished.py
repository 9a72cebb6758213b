"""Words that a command does not end with, by language: after them its speaker is given time.

A recogniser writes "Turn on." with a full stop, as if nothing could follow. Such texts, and those
of one or two words, wait for the whole silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

FEW_WORDS: Final = 2
"""A text of so few words is not known to be whole: "add milk", "turn on"."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+")

_OPEN_WORDS: Final[Mapping[str, str]] = {
    # Articles and the like, prepositions and particles, conjunctions, and verbs with their object
    # still to come; a few nouns that want a number or a time ("set a timer").
    "en": """a an the this that these those my your our his her its their some any another each
        about above across after against along around as at before behind below beside between by
        down during for from in inside into like near of off on onto out outside over past per
        through to toward towards under until up upon via with within without
        and or but nor than then so because if when while where which who whose
        i me is are was were be been can could will would shall should may might must do does did
        have has had let please also
        turn switch set make put add remove play open close start stop call send show tell ask
        give take bring dim raise lower increase decrease change move remind wake create find
        read write buy order search look schedule cancel resume skip lock unlock
        timer alarm reminder""",
    "de": """der die das den dem des ein eine einen einem einer eines mein meine meinen meinem
        meiner dein deine unser unsere kein keine dieser diese dieses diesen diesem jeder jede jedes
        an auf aus bei bis durch für gegen hinter im in ins nach neben ohne seit über um unter
        vom von vor während wegen zu zum zur zwischen am ans beim mit ab ein hoch runter weg los
        und oder aber denn weil dass wenn als ob sowie noch bitte auch
        ich mir mich ist sind war kann kannst könntest soll sollst will würde würdest hast hat
        mach mache schalte schalt stell stelle setz setze spiel spiele öffne schließ schließe
        schließen füge starte stoppe ruf rufe zeig zeige sag sage gib nimm bring dimme erhöhe
        senke ändere erinnere weck wecke such suche lies kauf kaufe
        timer wecker erinnerung""",
    "fr": """le la les l' un une des du de d' au aux ce cet cette ces mon ma mes ton ta tes son sa
        ses notre votre leur à dans sur sous vers avec sans pour par en chez entre avant après
        pendant depuis jusque jusqu'à et ou mais car que qui si quand comme ne
        je me moi est sont peux peut pouvez veux voudrais
        allume allumez éteins éteignez mets mettez ouvre ouvrez ferme fermez joue jouez ajoute
        ajoutez règle réglez lance lancez arrête arrêtez appelle montre dis donne baisse monte
        augmente change rappelle réveille cherche lis minuteur alarme rappel""",
    "es": """el la los las lo un una unos unas del al este esta estos estas ese esa mi mis tu tus su
        sus a ante bajo con contra de desde durante en entre hacia hasta para por según sin sobre
        tras y e o u pero que si cuando como donde
        me es son está puedes puede quiero quisiera
        enciende encienda apaga apague pon ponga abre abra cierra cierre añade agrega reproduce toca
        ajusta configura sube baja llama muestra di da busca cambia recuérdame despiértame
        temporizador alarma recordatorio""",
    "it": """il lo la i gli le l' un uno una un' del dello della dei degli delle al allo alla ai
        agli alle dal dalla nel nello nella nei nelle sul sulla sui questo questa quel quella mio
        mia tuo tua suo sua a da di in con su per tra fra e o ma che se quando come
        mi è sono puoi può voglio vorrei
        accendi spegni metti apri chiudi aggiungi riproduci suona imposta alza abbassa chiama
        mostra dimmi dammi cerca cambia ricordami svegliami timer sveglia promemoria""",
    "nl": """de het een deze die dit dat mijn jouw je zijn haar ons onze hun geen
        aan achter af bij binnen boven door in langs met na naar naast of om onder op over per rond
        te tegen tot tussen uit van vanaf voor zonder en maar want omdat als dan
        ik me mij is kan kun kunt wil zou
        zet doe maak schakel open sluit speel voeg start stop bel toon zeg geef neem dim verhoog
        verlaag verander herinner wek zoek lees timer wekker herinnering""",
    "pt": """o a os as um uma uns umas do da dos das no na nos nas ao à aos às este esta esse essa
        meu minha seu sua de em com por para pelo pela sem sob sobre entre até desde e ou mas que
        se quando como me é são pode quero
        ligue liga acenda acende desligue desliga apague apaga coloque põe abra abre feche fecha
        adicione adiciona toque toca ajuste aumente diminua chame mostre diga procure mude lembre
        acorde temporizador alarme lembrete""",
}

OPEN_WORDS: Final = {
    language: frozenset(text.casefold().split()) for language, text in _OPEN_WORDS.items()
}


def is_unfinished(text: str, language: str) -> bool:
    """True where more may well follow `text`, whatever sign its recogniser put at its end.

    Of a language that is not listed, the number of words alone is known.
    """
    words = _WORD.findall(text.casefold())
    if len(words) <= FEW_WORDS:
        return True
    return words[-1] in OPEN_WORDS.get(language, frozenset())
