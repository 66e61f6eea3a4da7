"""The table of the protocol: method, params, result, right needed; and the notifications. No I/O of its own."""

from dataclasses import dataclass

from agent.model import CpxStatus, ReaderSeen, Right, TracedResult, Value
from agent.protocol import messages as m


@dataclass(frozen=True)
class Method:
    """One method. `right` None: any allowed origin."""

    name: str
    params: type[Value]
    result: type[Value]
    right: Right | None
    does: str

    def optional_params(self) -> list[str]:
        """Wire names of the params that may be left out."""
        return [field.alias or name for name, field in self.params.model_fields.items() if not field.is_required()]


METHODS: dict[str, Method] = {
    method.name: method
    for method in [
        Method(
            "agent.hello", m.HelloParams, m.HelloResult, None, "open the conversation; the agent proves its identity"
        ),
        Method("agent.status", m.NoParams, m.StatusResult, None, "readers, card session, counts and latency, warnings"),
        Method("cards.watch", m.NoParams, m.WatchResult, None, "the readers now, then notifications"),
        Method("cards.unwatch", m.NoParams, m.WatchResult, None, "stop the notifications"),
        Method("vitale.read", m.VitaleReadParams, m.VitaleReadResult, Right.VITALE, "read the carte Vitale"),
        Method("cpx.status", m.CpxStatusParams, CpxStatus, Right.CPX, "the professional card, without its code"),
        Method("cpx.unlock", m.CpxUnlockParams, CpxStatus, Right.CPX, "ask the person for the card's code"),
        Method("cpx.lock", m.CpxUnlockParams, CpxStatus, Right.CPX, "end the card session"),
        Method(
            "insi.retrieveWithVitale",
            m.RetrieveWithVitaleParams,
            TracedResult,
            Right.RETRIEVE,
            "WS_INS1: the INS of a holder read on a carte Vitale",
        ),
        Method(
            "insi.retrieveByTraits",
            m.RetrieveByTraitsParams,
            TracedResult,
            Right.RETRIEVE,
            "WS_INS2: the INS of a person known by their traits",
        ),
        Method(
            "insi.verify",
            m.VerifyParams,
            TracedResult,
            Right.VERIFY,
            "WS_INS3: whether an INS and its traits are INSi's",
        ),
        Method(
            "trace.list",
            m.TraceListParams,
            m.TraceListResult,
            Right.TRACE,
            "this origin's traces, newest first, a page at a time",
        ),
        Method("trace.get", m.TraceGetParams, m.TraceGetResult, Right.TRACE, "one trace of this origin"),
        Method(
            "sites.list",
            m.NoParams,
            m.SitesResult,
            Right.ADMIN,
            "every site that is allowed, blocked or not asked for now",
        ),
        Method("sites.revoke", m.SiteParams, m.SitesResult, Right.ADMIN, "take back the person's consent to a site"),
        Method("sites.unblock", m.SiteParams, m.SitesResult, Right.ADMIN, "ask again when this site comes"),
        Method(
            "agent.switch",
            m.SwitchParams,
            m.SwitchResult,
            Right.ADMIN,
            "change environment or profile; without params: what counts now",
        ),
        Method("agent.lines", m.NoParams, m.LinesResult, Right.ADMIN, "the first and the last lines of the log"),
        Method("operation.cancel", m.OperationCancelParams, m.OperationCancelResult, None, "end a running operation"),
    ]
}

NOTIFICATIONS: dict[str, type[Value]] = {
    "agent.changed": m.ChangedParams,
    "reader.added": ReaderSeen,
    "reader.removed": ReaderSeen,
    "card.inserted": ReaderSeen,
    "card.removed": ReaderSeen,
    "cpx.changed": m.CpxChangedParams,
    "operation.progress": m.ProgressParams,
}

BEFORE_HELLO = frozenset({"agent.hello"})
WHILE_PENDING = BEFORE_HELLO | {"operation.cancel"}  # before the person has consented to the site

# Never wait for anything: answered by the task that reads the socket, without one of their own.
FROM_MEMORY = frozenset({"agent.status", "cards.watch", "cards.unwatch"})
