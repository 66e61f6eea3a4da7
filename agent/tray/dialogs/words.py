"""What a window says and how it ends, from the question it was sent. No I/O of its own.

Texts from outside (the site's reason above all) are tamed here: a site may say something, it may not
look like the window.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from agent.errors import CATALOGUE, Code, Words
from agent.model import Right
from agent.tray.dialogs.site_name import SiteName, site_name

MAX_REASON = 52  # characters: one line of the window
MAX_LINE = 120
MAX_NAME = 300  # of a site; never cut: the end of a host name says whose it is
MAX_CHOICE = 48  # characters of an activity's name: with its sector one line of the window


@dataclass(frozen=True)
class Page:
    """Everything a window shows, ready to be laid out."""

    title: str
    heading: str
    holder: str
    facts: tuple[tuple[str, str], ...]  # label and text: who asks, with what, for what; the site's words
    notice: str  # what went wrong just before, or how few tries are left
    prompt: str
    accept: str  # label of the button; nothing when there is nothing to accept
    refuse: str
    accepted: str  # the answer of someone who accepts
    refused: str  # the answer of someone who does not
    consent: str = ""  # to be ticked before anything else, or nothing
    choices: tuple[tuple[str, str], ...] = ()  # id and text; one of them must be chosen, none is at first
    accepts: tuple[str, ...] = ()  # label of the button for each choice, where it differs
    others: tuple[str, ...] = ()  # lines below the choices; the first one is their heading
    footnote: str = ""  # a quiet word above the buttons
    shielded: bool = False  # in its first moments it takes no key and no click at all, and never a Return
    typed_here: bool = False  # otherwise the code is typed on the reader, or not at all
    min_digits: int = 0
    max_digits: int = 0
    only_digits: str = ""


def pin_page(question: Mapping[str, Any]) -> Page:
    """The page for a question as `agent.tray.bridge.PinQuestion` sends it."""
    state, language = question["pinState"], question["language"]
    locked, pin_pad = state == "locked", bool(question["pinPad"])
    least, most = int(question["minDigits"]), int(question["maxDigits"])

    say = partial(_say, language)
    facts = _facts(question)
    if reason := tame(question["reason"] or "", MAX_REASON):
        facts.append((say(_MESSAGE), say(_QUOTED).format(reason)))
    notices = [CATALOGUE[Code(question["previousError"])].title] if question["previousError"] else []
    if locked:
        notices = [CATALOGUE[Code.PIN_LOCKED].title, CATALOGUE[Code.PIN_LOCKED].action]
    elif state in _TRIES_LEFT:
        notices.append(_TRIES_LEFT[state])
    prompt = say(_ON_READER if pin_pad else _EXACT if least == most else _RANGE).format(least, most)
    return Page(
        title=say(_TITLE),
        heading=say(_HEADING),
        holder=_holder(question),
        facts=tuple(facts),
        notice=" ".join(say(words) for words in notices),
        consent=say(_CONSENT) if state == "final" else "",
        prompt="" if locked else prompt,
        only_digits=say(_ONLY_DIGITS),
        accept="" if locked else say(_CONTINUE if pin_pad else _ACCEPT),
        refuse=say(_CLOSE if locked else _CANCEL),
        typed_here=not (locked or pin_pad),
        min_digits=least,
        max_digits=most,
        accepted="pinPad" if pin_pad else "pin",
        refused="locked" if locked else "cancelled",
    )


def activity_page(question: Mapping[str, Any]) -> Page:
    """The page for a question as `agent.tray.bridge.ActivityQuestion` sends it."""
    say = partial(_say, question["language"])
    unknown = tame(question["unknown"] or "", MAX_CHOICE)
    return Page(
        title=say(_ACTIVITY_TITLE),
        heading=say(_ACTIVITY_HEADING),
        holder=_holder(question),
        facts=tuple(_facts(question)),
        notice=say(_UNKNOWN).format(unknown) if unknown else "",
        prompt=say(_WHICH),
        accept=say(_ACCEPT),
        refuse=say(_CANCEL),
        accepted="chosen",
        refused="cancelled",
        choices=tuple((one[0], _choice(question, one)) for one in question["activities"]),
    )


def consent_page(question: Mapping[str, Any]) -> Page:
    """The page for a question as `agent.tray.bridge.ConsentQuestion` sends it."""
    say = partial(_say, question["language"])
    name = site_name(question["origin"])
    known = {**_RIGHTS, Right.RETRIEVE: _RETRIEVE_WITHOUT_CODE} if question["organisation"] else _RIGHTS
    rights = [say(known[right]) if right in known else right for right in ("", *question["rights"])]
    return Page(
        title=say(_CONSENT_TITLE),
        heading=say(_CONSENT_HEADING),
        holder=say(_CONSENT_ADVICE),
        facts=(
            *((say(label), text) for label, text in _names(name)),
            (say(_WILL), "\n".join(f"• {right}" for right in rights)),
        ),
        notice=say(_MISLEADING) if name.misleading else "",
        prompt=say(_YOUR_ANSWER),
        accept=say(_ACCEPT),
        refuse=say(_NOT_NOW),
        accepted="chosen",
        refused="notNow",
        choices=(("allow", say(_ALLOW)), ("block", say(_BLOCK))),
        footnote=say(_NOT_NOW_COSTS).format(_duration(question["quietHours"], question["language"])),
        shielded=True,
    )


def _names(name: SiteName) -> list[tuple[Words, str]]:
    """The name in letters above the exact one, unless the letters may mislead."""
    letters = tame(name.letters, MAX_NAME)
    if not letters or letters != name.letters:
        return [(_SITE, name.exact)]
    lines = [(_SITE, letters), (_EXACT_NAME, name.exact)]
    return [(_SITE, name.exact), (_READS_LIKE, letters)] if name.misleading else lines


def sites_page(question: Mapping[str, Any]) -> Page:
    """The page for a question as `agent.tray.bridge.SitesQuestion` sends it."""
    language = question["language"]
    say = partial(_say, language)
    own = [one for one in question["sites"] if one["by"] == "person"]
    configured = [one["origin"] for one in question["sites"] if one["by"] != "person"]
    return Page(
        title=say(_SITES_TITLE),
        heading=say(_SITES_HEADING),
        holder="",
        facts=(),
        notice="",
        prompt=say(_YOUR_SITES if own else _NO_SITES),
        accept=say(_REVOKE) if own else "",
        accepts=tuple(say(_REVOKE if one["state"] == "allowed" else _ASK_AGAIN) for one in own),
        refuse=say(_CLOSE),
        accepted="chosen",
        refused="cancelled",
        choices=tuple((one["origin"], f"{one['origin']}\n{site_state(one, language)}") for one in own),
        others=(say(_CONFIGURED_SITES), *configured) if configured else (),
    )


def switch_page(question: Mapping[str, Any]) -> Page:
    """The page for a question as `agent.tray.bridge.SwitchQuestion` sends it."""
    say = partial(_say, question["language"])
    facts = []
    for name, (label, values) in _SWITCHED.items():
        by = question["locked"].get(name)
        fixed = f" ({say(_FIXED_BY).format(say(LOCKED_BY[by]))})" if by else ""
        later = question["nextStart"].get(name)
        then = f"\n{say(_NEXT_START).format(say(values[later]))}" if later else ""
        facts.append((say(label), f"{say(values[question[name]])}{then}{fixed}"))
    row = CATALOGUE[Code(question["failed"])] if question["failed"] else None
    offered = [(name, value, *_SWITCHED[name]) for name, value in question["offered"]]
    return Page(
        title=say(_SWITCH_TITLE),
        heading=say(_SWITCH_HEADING),
        holder="",
        facts=tuple(facts),
        notice=" ".join((say(_NOT_CHANGED), say(row.title), say(row.action))) if row else "",
        prompt=say(_CHANGE_TO if offered else _NOTHING_TO_CHANGE),
        accept=say(_CHANGE) if offered else "",
        refuse=say(_CLOSE),
        accepted="chosen",
        refused="cancelled",
        choices=tuple(
            (f"{name}={value}", f"{say(label)} : {say(values[value])}") for name, value, label, values in offered
        ),
        footnote=say(_THEN) if offered else "",
        shielded=bool(offered),  # Space and Return, typed without reading, must choose nothing
    )


def site_state(site: Mapping[str, Any], language: str = "fr") -> str:
    """What holds for one of `SitesQuestion`'s sites, in words; times as this workstation's clock shows them."""
    kind = site["state"] if site["by"] == "person" else site["by"]
    if kind == "allowed" and not site["inEffect"]:
        kind = "overruled"
    since, until = (at and datetime.fromisoformat(at).astimezone() for at in (site["since"], site["until"]))
    return _say(language, _SITE_STATES[kind]).format(since=since, until=until)


def _duration(hours: int, language: str) -> str:
    days, rest = divmod(hours, 24)
    return f"{hours} h" if rest or not days else _say(language, _DAYS).format(days)


def _choice(question: Mapping[str, Any], activity: Sequence[str]) -> str:
    """An activity by its name and sector; by its number where the card has no name.

    The structure's number tells apart what would read the same.
    """
    say = partial(_say, question["language"])
    number, label, structure, sector = activity
    unnamed = label in (number, structure)
    alike = sum((one[1], one[3]) == (label, sector) for one in question["activities"])
    texts = (
        say(_ACTIVITY).format(number) if unnamed else label,
        structure if unnamed or alike > 1 else "",
        say(_SECTORS[sector]) if sector in _SECTORS else sector,
    )
    return " – ".join(filter(None, (tame(text, MAX_CHOICE) for text in texts)))


def _say(language: str, words: Words) -> str:
    return words.en if language == "en" else words.fr


def _holder(question: Mapping[str, Any]) -> str:
    holder = tame(question["holder"], MAX_LINE)
    return _say(question["language"], _HOLDER).format(holder) if holder else ""


def _facts(question: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (_say(question["language"], label), tame(question[member], most))
        for member, label, most in _FACTS
        if question[member]
    ]


def tame(text: str, most: int) -> str:
    """`text` on one line of at most `most` characters, fit to stand between « and ».

    Control, bidirectional and invisible characters, stacked accents, private or unassigned characters,
    pictures (they also crash some builds of Tk) and quotation marks that would close ours are taken out.
    """
    kept = (" " if c.isspace() else c for c in unicodedata.normalize("NFC", text[: most * 8]) if _harmless(c))
    line = " ".join("".join(kept).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _harmless(character: str) -> bool:
    if character.isspace():
        return True
    if character in '«»“”„"' or ord(character) > 0xFFFF:
        return False
    category = unicodedata.category(character)
    return category[0] in "LNPS" and (category != "So" or ord(character) < 0x2000)


_TITLE = Words("INSi Agent – code de la carte CPS", "INSi Agent – code of the CPS card")
_HEADING = Words("Code de la carte CPS", "Code of the CPS card")
_ACTIVITY_TITLE = Words("INSi Agent – activité", "INSi Agent – activity")
_ACTIVITY_HEADING = Words("Choix de l'activité", "Choice of the activity")
_WHICH = Words("Pour quelle activité ?", "For which activity?")
_UNKNOWN = Words(
    "L'activité prévue pour ce poste (n° {}) n'est pas sur cette carte.",
    "The activity meant for this workstation (no. {}) is not on this card.",
)
_ACTIVITY = Words("Activité {}", "Activity {}")
_SECTORS = {  # table R02 of the ANS, second hand; any other is shown by its code
    "SA01": Words("établissement public de santé", "public hospital"),
    "SA05": Words("centre de santé", "health centre"),
    "SA07": Words("cabinet individuel", "individual practice"),
}
_SITE = Words("Site", "Site")
_HOLDER = Words("Carte de {}", "Card of {}")
_FACTS = (
    ("origin", _SITE, MAX_NAME),
    ("software", Words("Logiciel", "Software"), MAX_LINE),
    ("operation", Words("Demande", "Request"), MAX_LINE),
)
_MESSAGE = Words("Message du site", "Site's message")
_QUOTED = Words("«\u00a0{}\u00a0»", "“{}”")
_TRIES_LEFT = {
    "low": Words("Attention, il reste peu d'essais.", "Careful, few tries are left."),
    "final": Words("Dernier essai : un code faux bloquera la carte.", "Last try: a wrong code will lock the card."),
}
_CONSENT = Words("Je comprends", "I understand")
_EXACT = Words("Votre code à {} chiffres", "Your {}-digit code")
_RANGE = Words("Votre code, de {} à {} chiffres", "Your code, {} to {} digits")
_ON_READER = Words(
    "Cliquez sur Continuer, puis tapez le code sur le clavier du lecteur.",
    "Press Continue, then type the code on the reader's own keys.",
)
_ONLY_DIGITS = Words(
    "Chiffres uniquement : pavé numérique ou touche Maj.",
    "Digits only: use the number pad or the Shift key.",
)
_CONSENT_TITLE = Words("INSi Agent – demande d'un site", "INSi Agent – a site asks")
_CONSENT_HEADING = Words("Un site demande à utiliser ce poste", "A site asks to use this workstation")
_CONSENT_ADVICE = Words(
    "À autoriser seulement si vous utilisez ce logiciel.", "Allow it only if you use this software."
)
_EXACT_NAME = Words("Adresse exacte", "Exact address")
_READS_LIKE = Words("Se lit comme", "Reads like")
_MISLEADING = Words(
    "Attention : l'adresse de ce site peut en imiter une autre.",
    "Careful: this site's address may imitate another one.",
)
_WILL = Words("Il pourra", "It could")
_RIGHTS = {
    "": Words("voir les lecteurs et si une carte est présente", "see the readers and whether a card is there"),
    Right.VITALE: Words("lire la carte Vitale", "read the carte Vitale"),
    Right.CPX: Words("utiliser la carte CPS, avec votre code", "use the CPS card, with your code"),
    Right.RETRIEVE: Words("rechercher l'identité INS d'un patient", "search a patient's INS identity"),
    Right.VERIFY: Words("vérifier l'identité INS d'un patient", "verify a patient's INS identity"),
    Right.BATCH: Words("vérifier des identités INS par lots", "verify INS identities in batches"),
    Right.TRACE: Words("relire ses propres demandes", "read its own past requests"),
}
_RETRIEVE_WITHOUT_CODE = Words(
    "rechercher l'identité INS d'un patient,\n\u00a0\u00a0y compris au nom de la structure, sans code",
    "search a patient's INS identity,\n\u00a0\u00a0also in the organisation's name, without a code",
)
_YOUR_ANSWER = Words("Votre réponse", "Your answer")
_ALLOW = Words("Autoriser ce site", "Allow this site")
_BLOCK = Words("Toujours refuser ce site", "Always refuse this site")
_NOT_NOW = Words("Pas maintenant", "Not now")
_NOT_NOW_COSTS = Words(
    "Pas maintenant : ce site ne redemandera pas avant {}.\nPour changer d'avis : icône INSi Agent, Sites autorisés…",
    "Not now: this site will not ask again for {}.\nTo change your mind: INSi Agent icon, Allowed sites…",
)
_DAYS = Words("{} jours", "{} days")
_SITES_TITLE = Words("INSi Agent – sites autorisés", "INSi Agent – allowed sites")
_SITES_HEADING = Words("Sites autorisés", "Allowed sites")
_YOUR_SITES = Words("Vos réponses", "Your answers")
_NO_SITES = Words("Vous n'avez encore répondu pour aucun site.", "You have not answered for any site yet.")
_CONFIGURED_SITES = Words("Autorisés par la configuration de ce poste", "Allowed by this workstation's configuration")
_REVOKE = Words("Retirer l'accès", "Take access back")
_ASK_AGAIN = Words("Débloquer", "Unblock")
_SITE_STATES = {
    "policy": Words("autorisé par la règle de l'établissement", "allowed by the workstation's policy"),
    "configuration": Words("autorisé par la configuration", "allowed by the configuration"),
    "allowed": Words("autorisé depuis le {since:%d/%m/%Y}", "allowed since {since:%Y-%m-%d}"),
    "overruled": Words(
        "autorisé le {since:%d/%m/%Y}, sans effet : la configuration passe avant",
        "allowed on {since:%Y-%m-%d}, without effect: the configuration comes first",
    ),
    "blocked": Words("toujours refusé depuis le {since:%d/%m/%Y}", "always refused since {since:%Y-%m-%d}"),
    "quiet": Words("plus de question jusqu'au {until:%d/%m/%Y à %H:%M}", "no question until {until:%Y-%m-%d %H:%M}"),
}
_SWITCH_TITLE = Words("INSi Agent – environnement et profil", "INSi Agent – environment and profile")
_SWITCH_HEADING = Words("Environnement et profil", "Environment and profile")
ENVIRONMENTS = {
    "simulated": Words("simulation, rien n'est réel", "simulation, nothing is real"),
    "test": Words("test, avec des cartes de test", "test, with test cards"),
    "production": Words("production, avec de vrais patients", "production, with real patients"),
}
PROFILES = {
    "repository": Words("référentiel d'identités, recherche et vérifie", "identity repository, retrieves and verifies"),
    "consumer": Words("autre logiciel, vérifie seulement", "any other software, only verifies"),
}
_SWITCHED = {
    "environment": (Words("Environnement", "Environment"), ENVIRONMENTS),
    "profile": (Words("Profil", "Profile"), PROFILES),
}
LOCKED_BY = {  # agent.config.Source → in words
    "machine policy": Words("la règle du poste", "the workstation's policy"),
    "user policy": Words("la règle de votre compte", "your account's policy"),
    "command line": Words("la commande qui a démarré l'agent", "the command that started the agent"),
    "machine configuration": Words("la configuration du poste", "the workstation's configuration"),
}
_FIXED_BY = Words("fixé par {}", "set by {}")
_NEXT_START = Words("au prochain démarrage : {}", "at the next start: {}")
_NOT_CHANGED = Words("Rien n'a changé.", "Nothing was changed.")
_CHANGE_TO = Words("Changer pour :", "Change to:")
_NOTHING_TO_CHANGE = Words("Rien ne peut être changé ici.", "Nothing can be changed here.")
_CHANGE = Words("Changer", "Change")
_THEN = Words(
    "Les demandes en cours se terminent d'abord ; la carte est ensuite verrouillée et les sites se reconnectent.",
    "Requests under way end first; then the card is locked and the sites connect again.",
)
_ACCEPT = Words("Valider", "OK")
_CONTINUE = Words("Continuer", "Continue")
_CANCEL = Words("Annuler", "Cancel")
_CLOSE = Words("Fermer", "Close")
