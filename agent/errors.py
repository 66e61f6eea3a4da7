"""The catalogue of everything that can go wrong, and the one exception that carries it. No I/O of its own.

A row says who can mend it, in French first. The wire, the tray, PROTOCOL.md, `doctor` and the
web SDK all read this table, so that a person meets the same words everywhere.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Audience(StrEnum):
    """Who can mend it."""

    PERSON = "person"  # whoever sits at the desk
    IT = "it"  # whoever installs and configures the workstation
    DEVELOPER = "developer"  # whoever wrote the web application
    SUPPORT = "support"  # INSi, CNDA or the editor's support desk


@dataclass(frozen=True)
class Words:
    """One sentence in the two languages of the agent."""

    fr: str
    en: str


@dataclass(frozen=True)
class Row:
    """What the catalogue says of one code."""

    audience: Audience
    retryable: bool  # whether the person may simply try again later
    title: Words  # what happened
    action: Words  # what to do next
    level: str = "INFO"  # how loud the log line is


class Code(StrEnum):
    """The stable name of each error: `data.reason` on the wire."""

    # the conversation
    HELLO_FIRST = "session.helloFirst"
    RIGHT_MISSING = "right.missing"
    ORIGIN_PENDING = "origin.pending"
    RATE_LIMITED = "rate.limited"
    OPERATION_CANCELLED = "operation.cancelled"
    QUESTION_EXPIRED = "question.expired"
    CLIENT_REF_REUSED = "clientRef.reused"
    TRACE_UNKNOWN = "trace.unknown"
    CONTINUES_REFUSED = "continues.refused"
    INTERNAL = "internal"
    # who may call INSi
    SOFTWARE_NOT_AUTHORISED = "software.notAuthorised"
    INSI_NOT_PERMITTED = "insi.notPermitted"
    USER_REQUIRED = "user.required"
    IDENTITY_DOUBTFUL = "identity.doubtful"
    IDENTITY_PROVISIONAL = "identity.provisional"
    AUTH_MODE_UNAVAILABLE = "authMode.unavailable"
    AUTH_MODE_PSC = "authMode.psc"
    TRAITS_REFUSED = "traits.refused"
    INS_REFUSED = "ins.refused"
    # readers and cards
    PCSC_UNAVAILABLE = "pcsc.unavailable"
    READER_ABSENT = "reader.absent"
    CARD_ABSENT = "card.absent"
    CARD_REMOVED = "card.removed"
    CARD_MUTE = "card.mute"
    CARD_IN_USE = "card.inUse"
    CARD_UNKNOWN = "card.unknown"
    CARD_UNREADABLE = "card.unreadable"
    DEVICE_BUSY = "device.busy"
    DEVICE_TIMEOUT = "device.timeout"
    DEVICE_CRASHED = "device.crashed"
    # carte Vitale
    VITALE_ABSENT = "vitale.absent"
    VITALE_TOO_OLD = "vitale.tooOld"
    VITALE_EMPTY = "vitale.empty"
    VITALE_CPX_INSTEAD = "vitale.cpxInstead"
    VITALE_PROTECTED = "vitale.protected"
    VITALE_ENVIRONMENT = "vitale.environment"
    VITALE_READING_UNKNOWN = "vitale.readingUnknown"
    VITALE_HOLDER_UNKNOWN = "vitale.holderUnknown"
    VITALE_CHANGED = "vitale.changed"
    VITALE_STALE = "vitale.stale"
    VITALE_RANK_NEEDED = "vitale.rankNeeded"
    VITALE_NIR_UNUSABLE = "vitale.nirUnusable"
    VITALE_ASSERTION_UNAVAILABLE = "vitale.assertionUnavailable"
    APILEC_MISSING = "apilec.missing"
    APILEC_FAILED = "apilec.failed"
    APILEC_UNREADABLE = "apilec.unreadable"
    # CPx
    CPX_ABSENT = "cpx.absent"
    CPX_SEVERAL = "cpx.several"
    CPX_NOT_NOMINATIVE = "cpx.notNominative"
    CPX_ENVIRONMENT = "cpx.environment"
    CPX_EXPIRED = "cpx.expired"
    CPX_NO_SIGNATURE = "cpx.noSignature"
    CPX_SESSION_LOST = "cpx.sessionLost"
    CPX_CONTACTLESS = "cpx.contactless"
    SPECIALITY_MISSING = "speciality.missing"
    ACTIVITY_NEEDED = "activity.needed"
    BILLING_ID_MISSING = "billingId.missing"
    PIN_CANCELLED = "pin.cancelled"
    PIN_FORMAT = "pin.format"
    PIN_WRONG = "pin.wrong"
    PIN_LOCKED = "pin.locked"
    PROMPT_UNAVAILABLE = "prompt.unavailable"
    MODULE_MISSING = "module.missing"
    MODULE_FAILED = "module.failed"
    MODULE_CANNOT_SIGN = "module.cannotSign"
    MODULE_UNSAFE = "module.unsafe"
    MODULE_BITNESS = "module.bitness"
    MODULE_TOO_OLD = "module.tooOld"
    TOKEN_UNKNOWN = "token.unknown"  # noqa: S105  (a code, not a secret)
    SIGNATURE_INVALID = "signature.invalid"
    # organisation certificate and secrets
    CERTIFICATE_MISSING = "certificate.missing"
    CERTIFICATE_UNREADABLE = "certificate.unreadable"
    CERTIFICATE_EXPIRED = "certificate.expired"
    CERTIFICATE_NOT_YET_VALID = "certificate.notYetValid"
    CERTIFICATE_NOT_INSI = "certificate.notInsi"
    CERTIFICATE_ENVIRONMENT = "certificate.environment"
    CERTIFICATE_STRUCTURE = "certificate.structure"
    KEYRING_ABSENT = "keyring.absent"
    IDENTITY_DAMAGED = "identity.damaged"
    # the INSi teleservice
    INSI_NOT_CONFIGURED = "insi.notConfigured"
    INSI_UNREACHABLE = "insi.unreachable"
    INSI_TLS = "insi.tls"
    INSI_INTERCEPTED = "insi.intercepted"
    INSI_REVOKED = "insi.revoked"
    INSI_CERTIFICATE_REFUSED = "insi.certificateRefused"
    INSI_TIMEOUT = "insi.timeout"
    INSI_HTTP = "insi.http"
    INSI_UNREADABLE = "insi.unreadable"
    INSI_FAULT_INPUT = "insi.fault.input"
    INSI_FAULT_ACCESS = "insi.fault.access"
    INSI_FAULT_UNAVAILABLE = "insi.fault.unavailable"
    INSI_FAULT_UNKNOWN = "insi.fault.unknown"
    PROXY_UNREACHABLE = "proxy.unreachable"
    PROXY_AUTHENTICATION = "proxy.authentication"
    PROXY_SCHEME = "proxy.scheme"
    PROXY_REFUSED = "proxy.refused"
    PROXY_SCRIPT = "proxy.script"
    CONTRACT_UNREADABLE = "contract.unreadable"
    CONTRACT_BINDING = "contract.binding"
    CONTRACT_MISSING = "contract.missing"
    # the workstation
    JOURNAL_FULL = "journal.full"
    JOURNAL_UNAVAILABLE = "journal.unavailable"
    JOURNAL_NOT_SHIPPED = "journal.notShipped"
    CONFIG_INVALID = "config.invalid"
    PORTS_BUSY = "ports.busy"
    AGENT_NOT_RUNNING = "agent.notRunning"
    AGENT_RUNNING = "agent.running"
    SIMULATOR_FORBIDDEN = "simulator.forbidden"
    AGENT_SWITCHING = "agent.switching"
    SETTING_LOCKED = "setting.locked"
    TRUST_REFUSED = "trust.refused"
    RECORDING_REFUSED = "recording.refused"
    SITE_UNKNOWN = "site.unknown"
    SITE_LOCKED = "site.locked"
    WSS_CERTIFICATE = "wss.certificate"


class AgentError(Exception):
    """The one exception of the agent.

    `detail` is for the log and must never hold a person's data; `facts` travel to the caller.
    """

    def __init__(self, code: Code, detail: str = "", /, **facts: Any) -> None:
        super().__init__(f"{code}: {detail}" if detail else str(code))
        self.code = code
        self.detail = detail
        self.facts = facts

    @property
    def row(self) -> Row:
        return CATALOGUE[self.code]


_P, _I, _D, _S = Audience.PERSON, Audience.IT, Audience.DEVELOPER, Audience.SUPPORT

CATALOGUE: dict[Code, Row] = {
    Code.HELLO_FIRST: Row(
        _D,
        False,
        Words("La conversation n'est pas ouverte.", "The conversation is not open."),
        Words("Appeler agent.hello d'abord.", "Call agent.hello first."),
    ),
    Code.RIGHT_MISSING: Row(
        _I,
        False,
        Words("Ce site n'a pas le droit de faire cette demande.", "This site may not make this request."),
        Words("Demander à l'informatique d'accorder ce droit au site.", "Ask IT to grant this right to the site."),
    ),
    Code.ORIGIN_PENDING: Row(
        _P,
        True,
        Words("Ce site attend votre accord.", "This site waits for your consent."),
        Words("Répondre à la question d'INSi Agent.", "Answer INSi Agent's question."),
    ),
    Code.RATE_LIMITED: Row(
        _P,
        True,
        Words("Ce site a fait trop de demandes.", "This site made too many requests."),
        Words(
            "Attendre le délai indiqué. Si cela se répète, prévenir l'informatique.",
            "Wait as long as indicated. If it happens again, tell IT.",
        ),
        "WARNING",
    ),
    Code.OPERATION_CANCELLED: Row(
        _P,
        True,
        Words("La demande a été annulée.", "The request was cancelled."),
        Words("Relancer la demande si besoin.", "Start again if needed."),
    ),
    Code.QUESTION_EXPIRED: Row(
        _P,
        True,
        Words("La question est restée sans réponse.", "The question was not answered."),
        Words("Relancer la demande et répondre dans la fenêtre.", "Start again and answer in the window."),
    ),
    Code.CLIENT_REF_REUSED: Row(
        _D,
        False,
        Words("Cette référence a déjà servi pour une autre demande.", "This reference was used for another request."),
        Words("Donner une nouvelle clientRef.", "Give a new clientRef."),
    ),
    Code.TRACE_UNKNOWN: Row(
        _D,
        False,
        Words(
            "Cette trace n'existe pas pour ce site dans cet environnement.",
            "No such trace for this site in this environment.",
        ),
        Words("Vérifier traceId.", "Check traceId."),
    ),
    Code.CONTINUES_REFUSED: Row(
        _D,
        False,
        Words("Cette recherche ne peut pas être poursuivie.", "This search cannot be continued."),
        Words(
            "Relancer une recherche complète, sans lieu de naissance au premier essai.",
            "Start a whole search again, without the birth place in the first attempt.",
        ),
    ),
    Code.INTERNAL: Row(
        _S,
        True,
        Words("L'agent a rencontré une panne inattendue.", "The agent met an unexpected failure."),
        Words(
            "Réessayer. Si cela se répète, donner le numéro d'incident au support.",
            "Try again. If it happens again, give the incident number to support.",
        ),
        "ERROR",
    ),
    Code.SOFTWARE_NOT_AUTHORISED: Row(
        _I,
        False,
        Words(
            "Aucun logiciel autorisé n'est configuré pour ce site.",
            "No authorised software is configured for this site.",
        ),
        Words(
            "Configurer la ligne « software » de ce site avec le numéro d'autorisation CNDA de cet environnement.",
            'Configure this site\'s "software" row with the CNDA authorisation number of this environment.',
        ),
        "WARNING",
    ),
    Code.INSI_NOT_PERMITTED: Row(
        _I,
        False,
        Words(
            "Ce poste n'est pas un référentiel d'identité : il ne peut que vérifier une INS.",
            "This workstation is not an identity repository: it may only verify an INS.",
        ),
        Words(
            "Faire la recherche dans le logiciel de gestion des identités.",
            "Search in the identity repository software.",
        ),
    ),
    Code.USER_REQUIRED: Row(
        _D,
        False,
        Words(
            "Avec le certificat de la structure, l'utilisateur doit être indiqué.",
            "With the organisation's certificate, the user must be given.",
        ),
        Words("Ajouter le paramètre user.", "Add the user parameter."),
    ),
    Code.IDENTITY_DOUBTFUL: Row(
        _P,
        False,
        Words(
            "L'identité est douteuse ou fictive : INSi ne doit pas être appelé.",
            "The identity is doubtful or fictitious: INSi must not be called.",
        ),
        Words("Lever le doute sur l'identité d'abord.", "Resolve the doubt about the identity first."),
    ),
    Code.IDENTITY_PROVISIONAL: Row(
        _I,
        False,
        Words(
            "La recherche est interdite pour une identité provisoire.",
            "Retrieval is forbidden for a provisional identity.",
        ),
        Words(
            "Valider l'identité, ou faire changer ce réglage.", "Validate the identity, or have the setting changed."
        ),
    ),
    Code.AUTH_MODE_UNAVAILABLE: Row(
        _I,
        False,
        Words(
            "Ce mode d'authentification n'est pas configuré.",
            "This authentication mode is not configured.",
        ),
        Words("Choisir un mode annoncé par agent.hello.", "Choose a mode announced by agent.hello."),
    ),
    Code.AUTH_MODE_PSC: Row(
        _D,
        False,
        Words(
            "L'authentification par Pro Santé Connect n'est pas prise en charge : "
            "son échange avec INSi n'est pas public.",
            "Authentication by Pro Santé Connect is not supported: its exchange with INSi is not public.",
        ),
        Words("Utiliser cpx ou organisation (authModes).", "Use cpx or organisation (authModes)."),
    ),
    Code.INS_REFUSED: Row(
        _D,
        False,
        Words("Ce numéro n'est pas un INS à vérifier.", "This number is no INS to verify."),
        Words(
            "Donner le matricule de 13 caractères et l'OID d'un INS, non un numéro de sécurité sociale.",
            "Give the matricule of 13 characters and the OID of an INS, not a social security number.",
        ),
    ),
    Code.TRAITS_REFUSED: Row(
        _P,
        False,
        Words("Un trait d'identité ne peut pas être envoyé à INSi.", "An identity trait cannot be sent to INSi."),
        Words("Corriger le champ indiqué.", "Correct the field named."),
    ),
    Code.PCSC_UNAVAILABLE: Row(
        _I,
        True,
        Words("Le service de cartes à puce ne répond pas.", "The smart card service does not answer."),
        Words("Démarrer le service « Carte à puce » (pcscd).", 'Start the "Smart Card" service (pcscd).'),
        "WARNING",
    ),
    Code.READER_ABSENT: Row(
        _P,
        True,
        Words("Aucun lecteur de carte n'est branché.", "No card reader is plugged in."),
        Words("Brancher le lecteur.", "Plug the reader in."),
    ),
    Code.CARD_ABSENT: Row(
        _P,
        True,
        Words("Aucune carte dans le lecteur.", "No card in the reader."),
        Words("Insérer la carte.", "Insert the card."),
    ),
    Code.CARD_REMOVED: Row(
        _P,
        True,
        Words("La carte a été retirée trop tôt.", "The card was removed too early."),
        Words("Remettre la carte et la laisser en place.", "Put the card back and leave it in place."),
    ),
    Code.CARD_MUTE: Row(
        _P,
        True,
        Words("La carte ne répond pas.", "The card does not answer."),
        Words(
            "Vérifier le sens de la carte, essuyer la puce et la remettre.",
            "Check which way round it is, wipe the chip and put it back.",
        ),
    ),
    Code.CARD_IN_USE: Row(
        _P,
        True,
        Words("Un autre logiciel utilise la carte.", "Another program is using the card."),
        Words("Attendre qu'il ait fini, ou le fermer.", "Wait until it has finished, or close it."),
    ),
    Code.CARD_UNKNOWN: Row(
        _P,
        False,
        Words("Cette carte n'est pas reconnue.", "This card is not recognised."),
        Words("Insérer une carte Vitale.", "Insert a carte Vitale."),
    ),
    Code.CARD_UNREADABLE: Row(
        _P,
        True,
        Words("La carte a été lue mais son contenu est incompréhensible.", "The card's content makes no sense."),
        Words(
            "Remettre la carte. Si cela se répète, saisir l'identité à la main.",
            "Put it back. If it happens again, type the identity by hand.",
        ),
        "WARNING",
    ),
    Code.DEVICE_BUSY: Row(
        _P,
        True,
        Words("Une autre demande est en cours sur ce poste.", "Another request is running on this workstation."),
        Words("Attendre qu'elle finisse et recommencer.", "Wait until it ends and start again."),
    ),
    Code.DEVICE_TIMEOUT: Row(
        _P,
        False,
        Words(
            "Le matériel n'a pas répondu à temps ; la demande a peut-être abouti.",
            "The device did not answer in time; the request may have happened.",
        ),
        Words("Vérifier avant de recommencer.", "Check before starting again."),
        "WARNING",
    ),
    Code.DEVICE_CRASHED: Row(
        _P,
        True,
        Words(
            "Le composant de lecture de carte s'est arrêté ; il a été relancé.",
            "The card component stopped; it was started again.",
        ),
        Words("Recommencer. Si cela se répète, prévenir l'informatique.", "Try again. If it happens again, tell IT."),
        "ERROR",
    ),
    Code.VITALE_ABSENT: Row(
        _P,
        True,
        Words("Aucune carte Vitale dans les lecteurs.", "No carte Vitale in the readers."),
        Words("Insérer la carte Vitale du patient.", "Insert the patient's carte Vitale."),
    ),
    Code.VITALE_TOO_OLD: Row(
        _P,
        False,
        Words(
            "Cette carte Vitale est d'un ancien modèle, illisible directement.",
            "This carte Vitale is an old model that cannot be read directly.",
        ),
        Words("Faire la recherche par les traits d'identité.", "Search by identity traits."),
    ),
    Code.VITALE_EMPTY: Row(
        _P,
        False,
        Words("Cette carte Vitale ne contient aucun bénéficiaire.", "This carte Vitale names nobody."),
        Words("Faire la recherche par les traits d'identité.", "Search by identity traits."),
    ),
    Code.VITALE_CPX_INSTEAD: Row(
        _P,
        True,
        Words(
            "Une carte de professionnel est à la place de la carte Vitale.",
            "A professional's card is in the place of the carte Vitale.",
        ),
        Words(
            "Mettre la carte Vitale dans ce lecteur, la carte CPS dans l'autre.",
            "Put the carte Vitale into this reader, the CPS card into the other.",
        ),
    ),
    Code.VITALE_PROTECTED: Row(
        _P,
        False,
        Words(
            "Cette carte Vitale refuse la lecture directe de ses bénéficiaires.",
            "This carte Vitale refuses a direct reading of its holders.",
        ),
        Words("Faire la recherche par les traits d'identité.", "Search by identity traits."),
    ),
    Code.VITALE_ENVIRONMENT: Row(
        _P,
        False,
        Words(
            "Cette carte Vitale n'est pas de l'environnement de ce poste (réelle ou de test).",
            "This carte Vitale is not of this workstation's environment (real or test).",
        ),
        Words(
            "Utiliser une carte Vitale réelle en production, une carte de test sinon.",
            "Use a real carte Vitale in production, a test card otherwise.",
        ),
    ),
    Code.VITALE_READING_UNKNOWN: Row(
        _D,
        True,
        Words("Cette lecture de carte n'existe pas ou plus.", "This card reading does not exist, or no longer."),
        Words("Lire la carte Vitale à nouveau.", "Read the carte Vitale again."),
    ),
    Code.VITALE_HOLDER_UNKNOWN: Row(
        _D,
        False,
        Words("Ce bénéficiaire n'est pas sur la carte lue.", "This holder is not on the card that was read."),
        Words("Choisir un bénéficiaire de la liste lue.", "Choose a holder of the list that was read."),
    ),
    Code.VITALE_CHANGED: Row(
        _P,
        True,
        Words(
            "Ce n'est plus la carte Vitale qui a été lue ; rien n'a été envoyé.",
            "This is no longer the carte Vitale that was read; nothing was sent.",
        ),
        Words("Lire la carte et choisir la personne à nouveau.", "Read the card and choose the person again."),
        "WARNING",
    ),
    Code.VITALE_STALE: Row(
        _P,
        True,
        Words(
            "La lecture de la carte Vitale date de plus de 20 minutes ; rien n'a été envoyé.",
            "The carte Vitale was read more than 20 minutes ago; nothing was sent.",
        ),
        Words("Lire la carte à nouveau.", "Read the card again."),
    ),
    Code.VITALE_RANK_NEEDED: Row(
        _P,
        True,
        Words(
            "Deux bénéficiaires ont la même date de naissance : le rang doit être précisé.",
            "Two holders have the same birth date: the rank must be given.",
        ),
        Words("Indiquer le rang de naissance de la personne.", "Give the person's birth rank."),
    ),
    Code.VITALE_NIR_UNUSABLE: Row(
        _P,
        False,
        Words(
            "Le numéro ou la date de naissance de la carte Vitale n'est pas utilisable.",
            "The number or the birth date on the carte Vitale is unusable.",
        ),
        Words("Faire la recherche par les traits d'identité.", "Search by identity traits."),
    ),
    Code.VITALE_ASSERTION_UNAVAILABLE: Row(
        _I,
        False,
        Words(
            "L'assertion Vitale est exigée ici et aucun composant ne sait la produire.",
            "The Vitale assertion is required here and no component can make it.",
        ),
        Words(
            'Configurer un fournisseur d\'assertion Vitale, ou mettre vitale.assertion = "off".',
            'Configure a Vitale assertion provider, or set vitale.assertion = "off".',
        ),
        "WARNING",
    ),
    Code.APILEC_MISSING: Row(
        _I,
        False,
        Words(
            "La bibliothèque de lecture Vitale (api_lec) n'est pas installée ou pas utilisable.",
            "The Vitale reading library (api_lec) is not installed or not usable.",
        ),
        Words(
            'L\'installer, ou corriger vitale.apilec, ou revenir à vitale.backend = "pcsc".',
            'Install it, correct vitale.apilec, or go back to vitale.backend = "pcsc".',
        ),
        "WARNING",
    ),
    Code.APILEC_FAILED: Row(
        _I,
        True,
        Words(
            "La bibliothèque de lecture Vitale a répondu par une erreur.",
            "The Vitale reading library answered with an error.",
        ),
        Words(
            "Vérifier carte, lecteurs et api_lec.ini, puis chercher ce code dans sa documentation.",
            "Check card, readers and api_lec.ini, then look this code up in its documentation.",
        ),
        "WARNING",
    ),
    Code.APILEC_UNREADABLE: Row(
        _I,
        False,
        Words(
            "La réponse de la bibliothèque de lecture Vitale n'est pas lisible.",
            "The answer of the Vitale reading library cannot be read.",
        ),
        Words(
            "Transmettre la version de la bibliothèque api_lec au support.",
            "Give the version of the api_lec library to support.",
        ),
        "WARNING",
    ),
    Code.CPX_ABSENT: Row(
        _P,
        True,
        Words("Aucune carte de professionnel (CPS, CPF, CPE) trouvée.", "No professional card (CPS, CPF, CPE) found."),
        Words("Insérer votre carte CPS dans un lecteur à contact.", "Insert your CPS card in a contact reader."),
    ),
    Code.CPX_SEVERAL: Row(
        _P,
        True,
        Words("Plusieurs cartes de professionnel sont insérées.", "Several professional cards are inserted."),
        Words("Ne laisser que la vôtre.", "Leave only yours."),
    ),
    Code.CPX_NOT_NOMINATIVE: Row(
        _P,
        False,
        Words(
            "Cette carte n'est pas nominative : INSi ne l'accepte pas.", "This card names no person: INSi refuses it."
        ),
        Words(
            "Utiliser une carte nominative, ou le certificat de la structure.",
            "Use a nominative card, or the organisation's certificate.",
        ),
    ),
    Code.CPX_ENVIRONMENT: Row(
        _P,
        False,
        Words(
            "Cette carte n'est pas faite pour cet environnement (carte de test en production, ou l'inverse).",
            "This card is not for this environment (a test card in production, or the reverse).",
        ),
        Words("Utiliser une carte de cet environnement.", "Use a card of this environment."),
        "WARNING",
    ),
    Code.CPX_EXPIRED: Row(
        _P,
        False,
        Words("Le certificat de cette carte a expiré.", "This card's certificate has expired."),
        Words("Commander une nouvelle carte à l'ANS.", "Order a new card from ANS."),
    ),
    Code.CPX_NO_SIGNATURE: Row(
        _P,
        False,
        Words("Aucun certificat de signature sur cette carte.", "No signature certificate on this card."),
        Words(
            "Utiliser une carte CPS3 ou CPS4 ; sinon prévenir l'informatique.",
            "Use a CPS3 or CPS4 card; otherwise tell IT.",
        ),
    ),
    Code.CPX_SESSION_LOST: Row(
        _P,
        True,
        Words("La session de la carte a été perdue.", "The card's session was lost."),
        Words("Recommencer et saisir le code à nouveau.", "Start again and type the code again."),
    ),
    Code.CPX_CONTACTLESS: Row(
        _P,
        True,
        Words(
            "Sans contact, une carte de professionnel ne peut pas signer.",
            "Without contact, a professional's card cannot sign.",
        ),
        Words("Insérer la carte dans la fente du lecteur.", "Insert the card into the reader's slot."),
    ),
    Code.ACTIVITY_NEEDED: Row(
        _P,
        True,
        Words("La carte porte plusieurs activités.", "The card has several activities."),
        Words("Choisir l'activité.", "Choose the activity."),
    ),
    Code.BILLING_ID_MISSING: Row(
        _I,
        False,
        Words(
            "L'identifiant de facturation de ce professionnel n'est pas configuré.",
            "This professional's billing identifier is not configured.",
        ),
        Words(
            "Configurer identifiantFacturation (FINESS géographique, SIRET ou numéro AM).",
            "Configure identifiantFacturation (geographic FINESS, SIRET or AM number).",
        ),
    ),
    Code.SPECIALITY_MISSING: Row(
        _I,
        False,
        Words(
            "Le code de spécialité de ce médecin n'est ni sur la carte ni configuré.",
            "This physician's speciality is neither on the card nor configured.",
        ),
        Words(
            "Ajouter le code de spécialité de ce médecin (cpx.specialities).",
            "Add this physician's speciality code (cpx.specialities).",
        ),
    ),
    Code.PIN_CANCELLED: Row(
        _P,
        True,
        Words("La saisie du code a été abandonnée.", "Typing the code was given up."),
        Words("Relancer la demande pour saisir le code.", "Start again to type the code."),
    ),
    Code.PIN_FORMAT: Row(
        _P,
        True,
        Words(
            "Ce code n'a pas la bonne forme ; aucun essai n'a été perdu.", "The code has a wrong form; no try was lost."
        ),
        Words("Saisir les 4 chiffres du code porteur.", "Type the 4 digits of the card's code."),
    ),
    Code.PIN_WRONG: Row(
        _P,
        True,
        Words("Code faux.", "Wrong code."),
        Words(
            "Vérifier le code avant de recommencer : la carte se bloque après 3 erreurs.",
            "Check the code before trying again: the card locks after 3 errors.",
        ),
    ),
    Code.PIN_LOCKED: Row(
        _P,
        False,
        Words("La carte est bloquée.", "The card is locked."),
        Words("La débloquer avec « CPS Gestion » et le code PUK.", 'Unlock it with "CPS Gestion" and the PUK code.'),
    ),
    Code.PROMPT_UNAVAILABLE: Row(
        _I,
        False,
        Words(
            "La fenêtre de saisie du code ne peut pas s'ouvrir sur ce poste.",
            "The PIN window cannot open on this workstation.",
        ),
        Words(
            "Lancer l'agent dans une session graphique, avec tkinter.", "Run the agent in a desktop session, with Tk."
        ),
        "ERROR",
    ),
    Code.MODULE_MISSING: Row(
        _I,
        False,
        Words(
            "Le module PKCS#11 de la carte CPS est introuvable.",
            "The PKCS#11 module for the CPS card was not found.",
        ),
        Words(
            "Installer la Cryptolib CPS, ou configurer cpx.module.",
            "Install the Cryptolib CPS, or configure cpx.module.",
        ),
        "WARNING",
    ),
    Code.MODULE_FAILED: Row(
        _I,
        False,
        Words("Le module PKCS#11 ne se charge pas.", "The PKCS#11 module does not load."),
        Words("Vérifier sa version et son architecture (64 bits).", "Check its version and architecture (64-bit)."),
        "WARNING",
    ),
    Code.MODULE_CANNOT_SIGN: Row(
        _I,
        False,
        Words(
            "Ce module PKCS#11 ne sait pas signer avec cette carte.",
            "This PKCS#11 module cannot sign with this card.",
        ),
        Words("Installer la Cryptolib CPS 5.2 ou plus récente.", "Install the Cryptolib CPS 5.2 or later."),
        "WARNING",
    ),
    Code.MODULE_UNSAFE: Row(
        _I,
        False,
        Words(
            "Ce composant peut être remplacé par un autre utilisateur : il n'est pas chargé.",
            "Somebody else could replace this component: it is not loaded.",
        ),
        Words(
            "Le placer, par un chemin absolu, dans un dossier que seul un administrateur modifie.",
            "Put it, by an absolute path, in a folder that only an administrator may change.",
        ),
        "WARNING",
    ),
    Code.MODULE_BITNESS: Row(
        _I,
        False,
        Words(
            "Ce composant n'est pas fait pour ce programme (32 ou 64 bits, ou autre système).",
            "This component is not made for this program (32 or 64 bits, or another system).",
        ),
        Words(
            "Installer le composant de la même architecture que l'agent.",
            "Install the component of the agent's own architecture.",
        ),
        "WARNING",
    ),
    Code.MODULE_TOO_OLD: Row(
        _I,
        False,
        Words("Ce module PKCS#11 est trop ancien pour cette carte.", "This PKCS#11 module is too old for this card."),
        Words("Installer la Cryptolib CPS 5.2 ou plus récente.", "Install the Cryptolib CPS 5.2 or later."),
        "WARNING",
    ),
    Code.TOKEN_UNKNOWN: Row(
        _S,
        True,
        Words("La carte de professionnel a répondu par une erreur inconnue.", "The card answered an unknown error."),
        Words(
            "Remettre la carte. Si cela se répète, donner ce numéro au support.",
            "Put it back. If it happens again, give this number to support.",
        ),
        "ERROR",
    ),
    Code.SIGNATURE_INVALID: Row(
        _I,
        False,
        Words(
            "La signature faite par la carte ne correspond pas à son certificat ; rien n'a été envoyé.",
            "The card's signature does not match its certificate; nothing was sent.",
        ),
        Words(
            "Vider le cache de la Cryptolib CPS (fichiers de carte), puis recommencer.",
            "Empty the Cryptolib's card file cache, then try again.",
        ),
        "ERROR",
    ),
    Code.CERTIFICATE_MISSING: Row(
        _I,
        False,
        Words("Le certificat de la structure est introuvable.", "The organisation's certificate was not found."),
        Words("Configurer organisation.certificates (.p12).", "Configure organisation.certificates (.p12)."),
        "WARNING",
    ),
    Code.CERTIFICATE_UNREADABLE: Row(
        _I,
        False,
        Words(
            "Le certificat de la structure ne s'ouvre pas (fichier ou mot de passe).",
            "The organisation's certificate does not open (file or passphrase).",
        ),
        Words("Réenregistrer le fichier .p12 et son mot de passe.", "Enrol the .p12 file and its passphrase again."),
        "WARNING",
    ),
    Code.CERTIFICATE_EXPIRED: Row(
        _I,
        False,
        Words("Le certificat de la structure a expiré.", "The organisation's certificate has expired."),
        Words(
            "Commander un nouveau certificat ORG AUTH_CLI à l'ANS.", "Order a new ORG AUTH_CLI certificate from ANS."
        ),
        "WARNING",
    ),
    Code.CERTIFICATE_NOT_YET_VALID: Row(
        _I,
        False,
        Words(
            "Le certificat de la structure n'est pas encore valide.",
            "The organisation's certificate is not valid yet.",
        ),
        Words(
            "Vérifier la date de ce poste ; sinon attendre le début de sa validité.",
            "Check this workstation's date; otherwise wait until it is valid.",
        ),
        "WARNING",
    ),
    Code.CERTIFICATE_NOT_INSI: Row(
        _I,
        False,
        Words(
            "Ce certificat n'est pas prévu pour INSi : son nom doit être INSI-MANU ou INSI-AUTO.",
            "This certificate is not for INSi: its name must be INSI-MANU or INSI-AUTO.",
        ),
        Words("Utiliser un certificat émis pour INSi.", "Use a certificate issued for INSi."),
        "WARNING",
    ),
    Code.CERTIFICATE_ENVIRONMENT: Row(
        _I,
        False,
        Words(
            "Ce certificat n'est pas fait pour cet environnement (test en production, ou l'inverse).",
            "This certificate is not for this environment (test in production, or the reverse).",
        ),
        Words("Utiliser un certificat de cet environnement.", "Use a certificate of this environment."),
        "WARNING",
    ),
    Code.CERTIFICATE_STRUCTURE: Row(
        _I,
        False,
        Words(
            "Aucun certificat n'est désigné pour la structure de ce logiciel.",
            "No certificate is designated for the structure of this software.",
        ),
        Words(
            "Ajouter le certificat de cette structure à organisation.certificates, ou désigner la structure du "
            "logiciel (software.structure).",
            "Add this structure's certificate to organisation.certificates, or name the software's structure "
            "(software.structure).",
        ),
        "WARNING",
    ),
    Code.KEYRING_ABSENT: Row(
        _I,
        False,
        Words(
            "Aucun trousseau de secrets n'est disponible ; rien n'a été enregistré.",
            "No keyring is available; nothing was stored.",
        ),
        Words(
            "Ouvrir ou installer un trousseau, ou demander à l'administrateur « insi-agent enrol --machine ».",
            'Unlock or install a keyring, or ask the administrator for "insi-agent enrol --machine".',
        ),
        "WARNING",
    ),
    Code.IDENTITY_DAMAGED: Row(
        _I,
        False,
        Words(
            "Une clé de ce poste (de son identité ou de son journal) manque ou ne correspond plus à son histoire.",
            "A key of this workstation (its identity's or its journal's) is missing or does not fit its history.",
        ),
        Words(
            "Remettre le trousseau et le dossier de l'agent d'une même sauvegarde, ou lancer "
            "« insi-agent identity renew --lost ».",
            'Restore keyring and folder of the agent from one backup, or run "insi-agent identity renew --lost".',
        ),
        "ERROR",
    ),
    Code.INSI_NOT_CONFIGURED: Row(
        _I,
        False,
        Words(
            "L'adresse ou les certificats d'INSi ne sont pas configurés pour cet environnement.",
            "The address or anchors of INSi are not configured for this environment.",
        ),
        Words(
            "Importer les autorités avec « insi-agent trust import » ; pour une autre adresse, configurer "
            "insi.endpoints.",
            'Import the anchors with "insi-agent trust import"; for another address, configure insi.endpoints.',
        ),
        "WARNING",
    ),
    Code.INSI_UNREACHABLE: Row(
        _P,
        True,
        Words("INSi est injoignable.", "INSi cannot be reached."),
        Words("Vérifier le réseau et recommencer plus tard.", "Check the network and try again later."),
        "WARNING",
    ),
    Code.INSI_TLS: Row(
        _I,
        False,
        Words(
            "Le serveur INSi n'a pas pu être authentifié ; rien n'a été envoyé.",
            "The INSi server could not be authenticated; nothing was sent.",
        ),
        Words(
            "Vérifier l'adresse d'INSi, l'heure de ce poste, les autorités (insi.anchors) et la règle du nom "
            "(insi.server_names).",
            "Check INSi's address, this workstation's clock, the anchors (insi.anchors) and the rule of the name "
            "(insi.server_names).",
        ),
        "ERROR",
    ),
    Code.INSI_INTERCEPTED: Row(
        _I,
        False,
        Words(
            "Le certificat reçu à la place de celui d'INSi vient d'une autre autorité ; rien n'a été envoyé.",
            "The certificate received in place of INSi's comes from another authority; nothing was sent.",
        ),
        Words(
            "Exclure INSi de l'inspection TLS du réseau ; sinon vérifier les autorités de insi.anchors.",
            "Exclude INSi from the network's TLS inspection; else check the anchors of insi.anchors.",
        ),
        "ERROR",
    ),
    Code.INSI_REVOKED: Row(
        _I,
        False,
        Words(
            "Le certificat du serveur INSi est révoqué, ou son état n'a pas pu être vérifié ; rien n'a été envoyé.",
            "The INSi server's certificate is revoked, or its state could not be checked; nothing was sent.",
        ),
        Words(
            "Vérifier l'accès à la liste de révocation (insi.revocation), puis prévenir le support.",
            "Check the way to the revocation list (insi.revocation), then tell support.",
        ),
        "ERROR",
    ),
    Code.INSI_CERTIFICATE_REFUSED: Row(
        _I,
        False,
        Words(
            "INSi a refusé le certificat de la structure.",
            "INSi refused the organisation's certificate.",
        ),
        Words(
            "Vérifier la validité et l'émetteur du certificat.",
            "Check the certificate's validity and issuer.",
        ),
        "ERROR",
    ),
    Code.INSI_TIMEOUT: Row(
        _P,
        True,
        Words("INSi n'a pas répondu à temps.", "INSi did not answer in time."),
        Words("Recommencer plus tard.", "Try again later."),
        "WARNING",
    ),
    Code.INSI_HTTP: Row(
        _P,
        True,
        Words("INSi a répondu par une erreur de serveur.", "INSi answered with a server error."),
        Words("Recommencer plus tard.", "Try again later."),
        "WARNING",
    ),
    Code.INSI_UNREADABLE: Row(
        _S,
        True,
        Words("La réponse d'INSi est incomplète ou illisible.", "INSi's answer is incomplete or unreadable."),
        Words("Recommencer. Si cela se répète, prévenir le support.", "Try again. If it happens again, tell support."),
        "WARNING",
    ),
    Code.INSI_FAULT_INPUT: Row(
        _P,
        False,
        Words("INSi a refusé la demande.", "INSi refused the request."),
        Words("Corriger les traits selon le message d'INSi.", "Correct the traits as INSi's message says."),
    ),
    Code.INSI_FAULT_ACCESS: Row(
        _I,
        False,
        Words("INSi a refusé l'accès.", "INSi refused access."),
        Words(
            "Vérifier le numéro d'autorisation, la carte ou le certificat.",
            "Check the authorisation number, the card or the certificate.",
        ),
        "WARNING",
    ),
    Code.INSI_FAULT_UNAVAILABLE: Row(
        _P,
        True,
        Words("INSi est momentanément indisponible.", "INSi is unavailable for the moment."),
        Words("Recommencer plus tard.", "Try again later."),
        "WARNING",
    ),
    Code.INSI_FAULT_UNKNOWN: Row(
        _S,
        False,
        Words("INSi a répondu par une erreur inconnue.", "INSi answered an unknown fault."),
        Words("Donner le code affiché au support.", "Give the code shown to support."),
        "WARNING",
    ),
    Code.PROXY_UNREACHABLE: Row(
        _I,
        True,
        Words("Le proxy du réseau est injoignable.", "The network's proxy cannot be reached."),
        Words("Vérifier proxy.address et le réseau.", "Check proxy.address and the network."),
        "WARNING",
    ),
    Code.PROXY_AUTHENTICATION: Row(
        _I,
        False,
        Words(
            "Le proxy du réseau demande un compte, ou refuse celui qui lui est donné.",
            "The network's proxy asks for an account, or refuses the one it is given.",
        ),
        Words(
            "Configurer proxy.user, puis enregistrer son mot de passe : « insi-agent proxy enrol ».",
            'Configure proxy.user, then enrol its password: "insi-agent proxy enrol".',
        ),
        "WARNING",
    ),
    Code.PROXY_SCHEME: Row(
        _I,
        False,
        Words(
            "Le proxy du réseau n'accepte pas Basic ; l'agent ne sait faire ni NTLM ni Negotiate.",
            "The network's proxy does not take Basic; the agent speaks neither NTLM nor Negotiate.",
        ),
        Words(
            "Laisser passer INSi sans authentification, accepter Basic, ou passer par un relais local (cntlm, px).",
            "Let INSi pass without authentication, accept Basic, or go through a local relay (cntlm, px).",
        ),
        "WARNING",
    ),
    Code.PROXY_REFUSED: Row(
        _I,
        False,
        Words("Le proxy du réseau ne laisse pas passer vers INSi.", "The network's proxy gives no way to INSi."),
        Words(
            "Autoriser l'adresse d'INSi sur le proxy (CONNECT, port 443).",
            "Allow INSi's address on the proxy (CONNECT, port 443).",
        ),
        "WARNING",
    ),
    Code.PROXY_SCRIPT: Row(
        _I,
        True,
        Words(
            "Le script de configuration du proxy (PAC) ne dit pas de chemin vers INSi.",
            "The proxy's configuration script (PAC) gives no way to INSi.",
        ),
        Words("Vérifier proxy.script, ou nommer le proxy (proxy.address).", "Check proxy.script, or name the proxy."),
        "WARNING",
    ),
    Code.CONTRACT_UNREADABLE: Row(
        _I,
        False,
        Words(
            "Le contrat d'INSi désigné par les réglages ne se lit pas.",
            "The contract of INSi that the settings name cannot be read.",
        ),
        Words(
            "Vérifier insi.contract avec « insi-agent contract check DOSSIER ».",
            'Check insi.contract with "insi-agent contract check FOLDER".',
        ),
        "ERROR",
    ),
    Code.CONTRACT_BINDING: Row(
        _I,
        False,
        Words(
            "La description d'une opération d'INSi et le contrat ne vont pas ensemble.",
            "The description of an operation of INSi and the contract do not go together.",
        ),
        Words(
            "Corriger le fichier nommé, au chemin nommé (insi.bindings).",
            "Mend the file named, at the path named (insi.bindings).",
        ),
        "ERROR",
    ),
    Code.CONTRACT_MISSING: Row(
        _I,
        False,
        Words(
            "Cette opération d'INSi n'a pas de contrat public : il faut le paquet officiel de l'éditeur.",
            "This operation of INSi has no public contract: it needs the editor's official package.",
        ),
        Words(
            "Désigner le paquet officiel (insi.contract) et ses descriptions (insi.bindings).",
            "Name the official package (insi.contract) and its descriptions (insi.bindings).",
        ),
        "WARNING",
    ),
    Code.JOURNAL_FULL: Row(
        _I,
        True,
        Words(
            "Le disque est plein : sans trace, l'appel n'est pas envoyé, ou sa réponse n'est pas remise.",
            "The disk is full: without a trace no call is sent, or no answer handed over.",
        ),
        Words("Libérer de la place sur le disque.", "Free some disk space."),
        "ERROR",
    ),
    Code.JOURNAL_UNAVAILABLE: Row(
        _I,
        True,
        Words(
            "Le journal est illisible ou fermé : sans trace, l'appel n'est pas envoyé, ou sa réponse n'est pas remise.",
            "The journal cannot be read or written: without a trace no call is sent, or no answer handed over.",
        ),
        Words("Vérifier le dossier du journal.", "Check the journal's folder."),
        "ERROR",
    ),
    Code.JOURNAL_NOT_SHIPPED: Row(
        _I,
        True,
        Words(
            "Le journal n'est plus transmis : sa seconde copie est en retard.",
            "The journal is no longer shipped: its second copy is late.",
        ),
        Words(
            "Vérifier le dossier ou le serveur désigné par journal.ship ; rien n'est perdu, l'envoi reprendra seul.",
            "Check the folder or the server of journal.ship; nothing is lost, it will go on by itself.",
        ),
        "WARNING",
    ),
    Code.CONFIG_INVALID: Row(
        _I,
        False,
        Words("La configuration est incorrecte.", "The configuration is wrong."),
        Words("Corriger le réglage indiqué.", "Correct the setting named."),
        "ERROR",
    ),
    Code.PORTS_BUSY: Row(
        _I,
        True,
        Words("Tous les ports de l'agent sont pris par un autre programme.", "Another program holds all our ports."),
        Words("Fermer ce programme, ou configurer « ports ».", 'Close that program, or configure "ports".'),
        "ERROR",
    ),
    Code.AGENT_NOT_RUNNING: Row(
        _P,
        True,
        Words("L'agent n'est pas démarré.", "The agent is not running."),
        Words("Lancer « insi-agent run ».", 'Start "insi-agent run".'),
    ),
    Code.AGENT_RUNNING: Row(
        _P,
        True,
        Words("L'agent est déjà en marche.", "The agent is already running."),
        Words("S'en servir, ou l'arrêter d'abord.", "Use that one, or stop it first."),
    ),
    Code.SIMULATOR_FORBIDDEN: Row(
        _I,
        False,
        Words("Le simulateur est interdit sur ce poste.", "The simulator is forbidden on this workstation."),
        Words("Demander à l'informatique de l'autoriser.", "Ask IT to allow it."),
    ),
    Code.AGENT_SWITCHING: Row(
        _P,
        True,
        Words(
            "L'agent change d'environnement ou de profil.",
            "The agent is changing its environment or profile.",
        ),
        Words("Attendre un instant et recommencer.", "Wait a moment and try again."),
    ),
    Code.SETTING_LOCKED: Row(
        _I,
        False,
        Words(
            "L'environnement ou le profil ne se changent pas ici.",
            "The environment or the profile cannot be changed here.",
        ),
        Words("Demander le changement à qui les a fixés.", "Ask whoever set them for the change."),
    ),
    Code.TRUST_REFUSED: Row(
        _I,
        False,
        Words(
            "Cette autorité n'est pas acceptée ; rien n'a été enregistré.",
            "This authority is not accepted; nothing was stored.",
        ),
        Words(
            "Suivre la raison donnée. Inconnue de l'agent, elle se confirme par --fingerprint, avec l'empreinte "
            "SHA-256 que publie l'ANS.",
            "Follow the reason given. One that the agent does not know is confirmed by --fingerprint, with the SHA-256 "
            "that ANS publishes.",
        ),
        "WARNING",
    ),
    Code.RECORDING_REFUSED: Row(
        _D,
        False,
        Words(
            "L'enregistrement de cette carte n'a pas été écrit.",
            "The recording of this card was not written.",
        ),
        Words(
            "Suivre la raison donnée ; n'enregistrer qu'une carte de test.",
            "Follow the reason given; record test cards only.",
        ),
    ),
    Code.SITE_UNKNOWN: Row(
        _P,
        False,
        Words("Ce site n'est pas dans la liste.", "This site is not in the list."),
        Words("Vérifier l'adresse avec « insi-agent sites list ».", 'Check the address with "insi-agent sites list".'),
    ),
    Code.SITE_LOCKED: Row(
        _I,
        False,
        Words("La configuration décide de ce site.", "The configuration decides for this site."),
        Words("Changer « origins » dans la configuration.", 'Change "origins" in the configuration.'),
    ),
    Code.WSS_CERTIFICATE: Row(
        _I,
        False,
        Words(
            "Le certificat local pour wss manque, est expiré ou est illisible.",
            "The local certificate for wss is missing, expired or unreadable.",
        ),
        Words("Lancer « insi-agent wss enable ».", 'Run "insi-agent wss enable".'),
        "ERROR",
    ),
}
