// A reception desk: read a carte Vitale or type the traits, ask INSi, show what came back. MIT licence.

import { AgentError, DEFAULT_PORTS, VERSION, base64url, connect, verifyReceipt } from "./sdk/insi-agent.js";
import {
  ADVICE, AUDIENCES, CARDS, CARD_ENVIRONMENTS, CONTEXTS, ENVIRONMENTS, KINDS, KIND_OF_OID, MEMBERS, MODES,
  NAME_RULES, NEEDS, OUTCOMES, PIN_STATES, REASONS, SEXES, STATES, TRAITS, WARNINGS,
} from "./words.js";

// ---------------------------------------------------------------- the page's memory

const CALM = new Set(["operation.cancelled", "pin.cancelled"]); // the person's own choice is not an alarm

const WAIT_FOR_CARD_S = 60;
const REQUIRED = new Set(["readId", "holder", "traits"]);

const $ = (id) => document.getElementById(id);
const form = $("ask");
const field = form.elements;

const readers = new Map(); // reader name → card or null
let agent;
let reading = null; // the last vitale.read
let running = null; // AbortController of the operation on screen
let unheard = null; // {question, params} whose answer was lost on the way: asked again under the same clientRef

/** An element: `h("p", { class: "hint" }, "words", otherElement, null)`. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

// ---------------------------------------------------------------- the agent

async function start() {
  // The demo's own server says where its agent is; any other agent is on the default ports.
  const config = await fetch("config.json").then((reply) => reply.json()).catch(() => ({}));
  agent = connect({ client: { name: "Accueil", version: VERSION }, lang: "fr", ports: config.ports ?? DEFAULT_PORTS });
  agent.on("state", showState);
  agent.on("agent.changed", (changed) => {
    showHello(changed);
    showNotices(changed.warnings);
  });
  for (const news of ["reader.added", "reader.removed", "card.inserted", "card.removed"]) {
    agent.on(news, (seen) => showCardNews(news, seen));
  }
  agent.on("cpx.changed", showCpx);
  showState("searching");
}

async function showState(state) {
  const connected = state === "connected";
  $("agent").textContent = STATES[state];
  $("agent").dataset.state = state;
  $("work").inert = !connected;
  $("absence").hidden = connected || state === "searching";
  const waiting = state.startsWith("waiting"); // for the person, who has nothing to do on this page
  $("absence").className = waiting ? "notice asking" : "notice warn";
  $("absence").dataset.state = state;
  if (waiting) {
    $("absence").replaceChildren(h("h3", {}, agent.error.message), h("p", {}, agent.error.action));
  } else if (agent.error) {
    $("absence").replaceChildren(
      ...sentences(agent.error),
      h("button", { type: "button", click: () => agent.retry() }, "Réessayer maintenant"),
    );
  }
  if (!connected) return;
  showHello(agent.hello);
  const watched = await quietly(agent.call("cards.watch"));
  readers.clear();
  for (const { reader, card } of watched?.readers ?? []) readers.set(reader, card ?? null);
  showReaders();
  showNotices((await quietly(agent.call("agent.status")))?.warnings);
  showCpx();
}

/** What the agent wants to be known ahead of time: a certificate that will end, … */
function showNotices(notices = []) {
  $("notices").replaceChildren(...notices.map(({ message }) => h("li", {}, message.fr)));
}

function showHello({ agent: about, environment, authModes, capabilities }) {
  $("agent").textContent = `${STATES.connected}, version ${about.version}`;
  $("environment").hidden = !(environment in ENVIRONMENTS);
  $("environment").textContent = ENVIRONMENTS[environment] ?? "";
  if ((document.body.dataset.environment ?? environment) !== environment) { // what was read there is unknown here
    forgetReading();
    forgetResult();
  }
  document.body.dataset.environment = environment;
  for (const part of document.querySelectorAll("[data-needs]")) {
    part.hidden = !capabilities.includes(part.dataset.needs);
  }
  const chosen = field.mode?.value || authModes[0];
  $("modes").replaceChildren($("modes").querySelector("legend"), ...authModes.map((mode) =>
    h("label", {},
      h("input", { type: "radio", name: "mode", value: mode, required: true, checked: mode === chosen }),
      MODES[mode] ?? mode),
  ));
  followChoices();
}

/** The result of a call made for display only: an error there has nothing to add to the screen. */
async function quietly(call) {
  try {
    return await call;
  } catch (error) {
    if (error instanceof AgentError) return null;
    throw error;
  }
}

// ---------------------------------------------------------------- readers and cards

function showCardNews(news, { reader, card }) {
  if (news === "reader.removed") readers.delete(reader);
  else readers.set(reader, news === "card.removed" ? null : card ?? readers.get(reader) ?? null);
  showReaders();
  const what = { "reader.added": "Lecteur branché", "reader.removed": "Lecteur débranché", "card.removed": "Carte retirée" };
  $("cards-news").textContent = `${what[news] ?? `${CARDS[card.kind] ?? CARDS.unknown} insérée`} : ${reader}`;
  if (reading && ![...readers.values()].some((seen) => seen?.kind.startsWith("vitale"))) forgetReading();
  showCpx();
}

function showReaders() {
  $("readers").replaceChildren(...[...readers].map(([reader, card]) =>
    h("li", { "data-card": card?.kind ?? "none", title: reader },
      h("strong", {}, card ? CARDS[card.kind] ?? CARDS.unknown : "Pas de carte"), h("span", {}, reader)),
  ));
  if (!readers.size) $("readers").append(h("li", { "data-card": "none" }, h("strong", {}, "Aucun lecteur branché")));
}

async function showCpx() {
  if (running || !agent.hello?.capabilities.includes("cpx.status")) return; // `operate` comes back here
  describeCpx(await quietly(agent.call("cpx.status")));
}

function describeCpx(status) {
  const { present, kind, holder, unlocked, pin, certificate, activities } = status ?? {};
  const days = certificate?.daysLeft;
  $("cpx-text").replaceChildren(...present ? [
    h("strong", {}, `${kind === "unknown" || !kind ? "Carte de professionnel" : kind}${holder ? ` de ${holder.name}` : ""}`),
    h("span", {}, [
      unlocked ? "Déverrouillée." : "Verrouillée.",
      PIN_STATES[pin?.state],
      days <= 90 && (days < 0 ? "Certificat expiré." : `Certificat : encore ${days} jours.`),
    ].filter(Boolean).join(" ")),
  ] : [h("strong", {}, "Pas de carte CPS"), h("span", {}, "Nécessaire seulement pour le mode « Carte CPS ».")]);
  $("cpx").dataset.unlocked = Boolean(unlocked);
  $("cpx-button").hidden = !present;
  $("cpx-button").textContent = unlocked ? "Verrouiller" : "Déverrouiller";
  if (activities || !present) offerActivities(activities ?? []);
}

function offerActivities(activities) {
  const select = field.activity;
  const chosen = select.value;
  select.replaceChildren(h("option", { value: "" }, "Celle de ce poste"), ...activities.map(({ id, label }) =>
    h("option", { value: id }, label === id ? `Activité ${id}` : label))); // the card may name it by nothing else
  select.value = activities.some(({ id }) => id === chosen) ? chosen : "";
  followChoices();
}

$("cpx-button").addEventListener("click", async ({ currentTarget }) => {
  const method = $("cpx").dataset.unlocked === "true" ? "cpx.lock" : "cpx.unlock";
  const status = await operate(currentTarget, (options) => agent.call(method, { reason: "Accueil d'un patient" }, options));
  if (status) describeCpx(status);
});

// ---------------------------------------------------------------- carte Vitale

$("read").addEventListener("click", async ({ currentTarget }) => {
  forgetReading();
  forgetResult();
  reading = await operate(currentTarget, (options) => agent.call("vitale.read", { wait: WAIT_FOR_CARD_S }, options)) ?? null;
  if (reading) showHolders();
});

function forgetReading() {
  reading = null;
  showNirs(false);
  $("show-nir").hidden = true;
  $("rank-field").hidden = true;
  field.rank.value = "";
  $("holders").replaceChildren(h("p", { class: "hint" }, "Lisez la carte, puis choisissez la personne accueillie."));
  followChoices();
}

function showHolders() {
  const { holders, card, expiresAt } = reading;
  $("show-nir").hidden = false;
  $("holders").replaceChildren(
    ...holders.map((holder) =>
      h("label", { class: "holder" },
        h("input", { type: "radio", name: "holder", value: holder.index, required: true, checked: holders.length === 1 }),
        h("span", {},
          h("strong", {}, `${holder.name} ${holder.givenNames ?? ""}`),
          h("span", { class: "nir-line" }, `${french(holder.birthDate) ?? holder.birthDateRaw} — `, holder.nirOf === "insured" ? "n° de l'assuré " : "n° ",
            h("span", { class: "shown" }, grouped(holder.nir), " clé ", holder.nirKey),
            h("span", { class: "masked" }, holder.nir.slice(0, 1), " •• •• •• ••• •••"))))),
    h("p", { class: "hint" },
      [CARD_ENVIRONMENTS[card.environment],
        holders.some(({ nameKind }) => nameKind === "unknown") && "La carte ne dit pas s'il s'agit du nom de naissance ou d'usage.",
        `Lecture valable jusqu'à ${new Date(expiresAt).toLocaleTimeString("fr-FR", { timeStyle: "short" })}.`,
      ].filter(Boolean).join(" ")),
  );
  followChoices();
  ($("holders").querySelector("input:checked") ?? $("holders").querySelector("input"))?.focus();
}

function showNirs(shown) {
  $("holders").classList.toggle("show-nirs", shown);
  $("show-nir").setAttribute("aria-pressed", shown);
  $("show-nir").textContent = shown ? "Masquer les numéros" : "Montrer les numéros";
}

$("show-nir").addEventListener("click", () => showNirs(!$("holders").classList.contains("show-nirs")));

// ---------------------------------------------------------------- the form

/** Show what the current choices need, and nothing else. */
function followChoices() {
  const offered = [...field.source].filter((radio) => !radio.parentElement.hidden);
  if (!offered.some((radio) => radio.checked) && offered.length) offered[0].checked = true;
  const byTraits = field.source.value === "traits";
  for (const [panel, shown] of [["from-vitale", !byTraits], ["local", !byTraits], ["from-traits", byTraits]]) {
    $(panel).hidden = !shown;
    $(panel).disabled = !shown;
  }
  const organisation = form.querySelector("[name=mode]:checked")?.value === "organisation";
  $("user-field").hidden = !organisation;
  field.user.required = organisation && document.body.dataset.environment !== "simulated";
  $("activity-field").hidden = organisation || field.activity.options.length < 3; // the empty one, and a choice of two
  $("search").disabled = Boolean(running) || !offered.length || (!byTraits && !reading);
}

function addGivenName() {
  const names = $("given-names");
  const rank = names.children.length + 1;
  const input = h("input", { name: "givenName", required: rank === 1, maxlength: 200, autocomplete: "off", "aria-label": `Prénom ${rank}` });
  names.append(h("div", { class: "line" }, input,
    rank > 1 && h("button", { type: "button", class: "quiet", "aria-label": `Retirer le prénom ${rank}`, click: ({ currentTarget }) => {
      currentTarget.parentElement.remove();
      [...names.querySelectorAll("input")].forEach((left, index) => left.setAttribute("aria-label", `Prénom ${index + 1}`));
      $("add-given-name").focus();
    } }, "Retirer")));
  $("add-given-name").disabled = rank >= 20;
  return input;
}

const FORMS = {
  date: [/^(\d{4}-\d{2}-\d{2}|\d{2}\/\d{2}\/\d{4})$/, "Écrire la date AAAA-MM-JJ, avec 00 pour un mois ou un jour inconnu."],
  // S068: 99999 is never a birth place; one that is not known stays empty.
  place: [/^(?!99999$)(\d{5}|2[AB]\d{3})$/i, "Écrire les 5 caractères du code INSEE ; laisser vide s'il n'est pas connu."],
};

function checkForm({ target }) {
  const [pattern, words] = FORMS[target.dataset.kind] ?? [];
  target.setCustomValidity(pattern && target.value.trim() && !pattern.test(target.value.trim()) ? words : "");
}

/** YYYY-MM-DD from either way of writing a date; 00 stays 00. */
function isoDate(text) {
  const [, day, month, year] = /^(\d{2})\/(\d{2})\/(\d{4})$/.exec(text) ?? [];
  return year ? `${year}-${month}-${day}` : text;
}

/** The traits typed under names that start with `prefix`; empty fields are left out. */
function typedTraits(prefix, givenNames) {
  const typed = new FormData(form);
  const text = (name) => (typed.get(prefix + name) ?? "").trim();
  return filled({
    birthName: text("birthName"),
    givenNames: givenNames(typed).map((name) => name.trim()).filter(Boolean),
    sex: text("sex"),
    birthDate: isoDate(text("birthDate")),
    birthPlaceCode: text("birthPlaceCode").toUpperCase(),
  });
}

/** Without its empty members. */
function filled(members) {
  const empty = (value) => value === "" || (typeof value === "object" && !Object.keys(value).length);
  return Object.fromEntries(Object.entries(members).filter(([, value]) => !empty(value)));
}

function question() {
  const mode = form.querySelector("[name=mode]:checked").value;
  const user = field.user.value.trim();
  const common = {
    authMode: mode,
    context: field.context.value,
    activity: mode === "cpx" ? field.activity.value : "",
    user: user && { id: user },
  };
  if (field.source.value === "traits") {
    const traits = typedTraits("", (typed) => typed.getAll("givenName"));
    return { method: "insi.retrieveByTraits", params: filled({ traits, local: traits, ...common }) };
  }
  const local = typedTraits("local-", (typed) => (typed.get("local-givenNames") ?? "").split(/\s+/));
  const holder = { readId: reading.readId, holder: Number(field.holder.value), rank: Number(field.rank.value) || "" };
  return { method: "insi.retrieveWithVitale", params: filled({ ...holder, local, ...common }) };
}

form.addEventListener("change", ({ target }) => {
  if (["source", "holder"].includes(target.name)) forgetResult(); // it was another person's
  followChoices();
});
form.addEventListener("input", checkForm);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask(question());
});
$("add-given-name").addEventListener("click", () => addGivenName().focus());
addGivenName();

// ---------------------------------------------------------------- asking

/** Run one operation on screen: progress, a way to cancel, its error. The result, or undefined. */
async function operate(starter, call) {
  running = new AbortController();
  $("problem").replaceChildren();
  $("progress-text").textContent = "L'agent travaille…";
  $("progress").hidden = false;
  const actions = [$("read"), $("cpx-button"), $("search"), ...document.querySelectorAll("#result button")];
  for (const action of actions) action.disabled = true;
  $("cancel").disabled = false;
  $("cancel").focus();
  try {
    return await call({
      signal: running.signal,
      onProgress: ({ needs }) => { $("progress-text").textContent = NEEDS[needs] ?? "L'agent travaille…"; },
    });
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    showProblem(error);
    return undefined;
  } finally {
    running = null;
    $("progress").hidden = true;
    for (const action of actions) action.disabled = false;
    followChoices();
    starter.focus();
    showCpx();
  }
}

$("cancel").addEventListener("click", () => {
  $("cancel").disabled = true;
  $("progress-text").textContent = "Annulation…";
  running?.abort();
});

async function ask({ method, params }, starter = $("search")) {
  forgetResult();
  // A real application takes the challenge from its own server, which will check the receipt.
  const same = unheard?.question === JSON.stringify([method, params]);
  const sent = same ? unheard.params : announced(method, {
    ...params,
    clientRef: crypto.randomUUID().replace(/\d/g, (digit) => "ghijklmnop"[digit]), // the agent refuses what may be a NIR
    challenge: base64url(crypto.getRandomValues(new Uint8Array(32))),
  });
  unheard = { question: JSON.stringify([method, params]), params: sent };
  const result = await operate(starter, async (options) => {
    try {
      const answer = await agent.call(method, sent, options);
      unheard = null;
      return answer;
    } catch (error) {
      if (error.reason !== "agent.lost") unheard = null;
      throw error;
    }
  });
  if (result) await showResult(result, { method, params, challenge: sent.challenge });
}

/** Without the optional params that this agent does not announce: it refuses what it does not know. */
function announced(method, params) {
  return Object.fromEntries(Object.entries(params).filter(([name]) =>
    REQUIRED.has(name) || agent.hello.capabilities.includes(`${method}:${name}`)));
}

function forgetResult() {
  $("problem").replaceChildren();
  $("result").replaceChildren();
  $("outcome-title").textContent = "Résultat";
}

// ---------------------------------------------------------------- errors

/** What happened, what to do, who can do it, and the words of INSi when it spoke. */
function sentences({ message, action, audience, reason, facts }) {
  const { insi, incident, member, retryAfterS, rivals, rule, character, rpcMessage } = facts;
  return [
    h("h3", {}, message),
    rivals?.length && h("p", {}, `Peut-être utilisée par : ${rivals.join(", ")}.`),
    h("p", {}, action),
    retryAfterS && h("p", {}, `Délai : ${duration(retryAfterS)}.`),
    insi && h("dl", { class: "verbatim" },
      entry("Réponse d'INSi", [insi.code, insi.subcode].filter(Boolean).join(" / ")),
      entry("Motif", insi.reason), entry("Détail", insi.detail), entry("Gravité", insi.severity)),
    member && h("p", {}, `Champ « ${memberSent(member)} » : ${NAME_RULES[rule] ?? `INSi n'accepte pas ${character}`}.`),
    rpcMessage && h("p", {}, h("code", {}, rpcMessage)),
    incident && h("p", {}, `Numéro d'incident : ${incident}`),
    h("p", { class: "hint" }, AUDIENCES[audience], " ", h("code", {}, reason)),
  ].filter(Boolean);
}

const REMEDIES = {
  "activity.needed": ({ activities }) => offerActivities(activities ?? []) ?? field.activity,
  "vitale.rankNeeded": () => field.rank,
  "user.required": () => field.user,
  "traits.refused": ({ member }) => {
    const [, given] = GIVEN_NAME.exec(member) ?? [];
    return given ? $("given-names").querySelectorAll("input")[given] : field[member];
  },
};

function showProblem(error) {
  $("problem").replaceChildren(
    h("div", { class: CALM.has(error.reason) ? "notice" : "notice bad", "data-reason": error.reason }, ...sentences(error)));
  const missing = REMEDIES[error.reason]?.(error.facts);
  if (!missing) return;
  missing.parentElement.hidden = false;
  setTimeout(() => missing.focus()); // after `operate` gave the focus back
}

// ---------------------------------------------------------------- the result

async function showResult(result, asked) {
  const { outcome, code, label, identity, comparison, warnings, replayed } = result;
  $("outcome-title").textContent = OUTCOMES[outcome] ?? outcome;
  $("result").replaceChildren(
    h("p", { class: "hint" }, "Réponse d'INSi : ", h("code", {}, code), " ", label,
      replayed && " — réponse déjà obtenue, rendue sans nouvel appel"),
    ...identity ? [verdict(result), identityCard(identity)] : [h("p", { class: "notice warn" }, ADVICE[outcome])],
    ...outcome !== "found" && asked.method === "insi.retrieveByTraits" ? [continuation(result, asked) ?? ""] : [],
    ...comparison && identity ? [comparisonTable(comparison)] : [],
    ...warnings?.length ? [h("ul", { class: "remarks" }, warnings.map((warning) => h("li", {}, WARNINGS[warning] ?? warning)))] : [],
    ...identity?.history?.length ? [historyTable(identity.history)] : [],
    traceDetails(result.trace, await receiptWords(result, asked.challenge)),
  );
  if (result.reasons?.includes("rank.assumed")) $("rank-field").hidden = false;
  $("outcome-title").focus();
}

function verdict({ integrable, reasons, comparison }) {
  const real = document.body.dataset.environment === "production";
  const different = Object.values(comparison ?? {}).some(({ sameAfterNormalisation }) => !sameAfterNormalisation);
  return integrable
    ? h("p", { class: different ? "notice warn" : "notice good", id: "verdict" },
      h("strong", {}, different ? "Intégrable après comparaison : des traits diffèrent" : "Intégrable"),
      real ? "" : "Simulation ou test : jamais dans un dossier réel.")
    : h("div", { class: "notice bad", id: "verdict" }, h("strong", {}, "NE PAS INTÉGRER"),
      h("ul", {}, reasons.map((reason) => h("li", {}, REASONS[reason] ?? reason))));
}

function identityCard({ ins, birthName, givenNamesList, sex, birthDate, birthPlaceCode }) {
  return h("div", { class: "identity" },
    h("p", { class: "matricule" }, h("span", { class: "label" }, "Matricule INS"),
      h("b", {}, grouped(ins.matricule)), ins.key && h("span", { class: "key" }, "clé ", h("b", {}, ins.key)),
      h("span", { class: "hint" }, `${KINDS[ins.kind] ?? ins.kind} — OID ${ins.oid}`)),
    h("dl", {},
      entry(TRAITS.birthName, birthName), entry(TRAITS.givenNamesList, givenNamesList),
      entry(TRAITS.birthDate, french(birthDate)), entry(TRAITS.sex, SEXES[sex] ?? sex), entry(TRAITS.birthPlaceCode, birthPlaceCode)));
}

/** The ladder's next step, with the birth place: never in a first attempt (S102). */
function continuation({ trace }, { method, params }) {
  if (trace.attempts.some(({ given }) => given.includes("birthPlaceCode"))) return null;
  const code = h("input", { name: "place", "data-kind": "place", required: true, maxlength: 5, autocomplete: "off", class: "short",
    value: params.traits.birthPlaceCode ?? "", input: checkForm });
  const again = h("form", { class: "continue", submit: (event) => {
    event.preventDefault();
    const traits = { ...params.traits, birthPlaceCode: code.value.trim().toUpperCase() };
    ask({ method, params: { ...params, traits, local: traits, continues: trace.id } });
  } }, h("label", {}, "Lieu de naissance, code INSEE ", code), h("button", { type: "submit" }, "Poursuivre avec le lieu de naissance"));
  return again;
}

/** S109, S110: every difference between the record's traits and INSi's is shown. */
function comparisonTable(comparison) {
  const value = (name, text) => (name === "birthDate" ? french(text) : name === "sex" ? SEXES[text] ?? text : text) ?? "—";
  return h("table", { id: "comparison" },
    h("caption", {}, "Comparaison avec l'identité saisie"),
    h("thead", {}, h("tr", {}, ["Trait", "Saisi", "INSi", ""].map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, Object.entries(comparison).map(([name, { local, insi, same, sameAfterNormalisation }]) =>
      h("tr", { class: sameAfterNormalisation ? null : "different" },
        h("th", { scope: "row" }, TRAITS[name] ?? name), h("td", {}, value(name, local)), h("td", {}, value(name, insi)),
        h("td", {}, same ? "Identique" : sameAfterNormalisation ? "Identique à l'écriture près" : "Différent")))));
}

function historyTable(history) {
  return h("table", {},
    h("caption", {}, "Historique des matricules"),
    h("thead", {}, h("tr", {}, ["Matricule", "Clé", "OID", "Du", "Au"].map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, history.map(({ matricule, key, oid, from, to }) =>
      h("tr", {}, h("td", {}, grouped(matricule)), h("td", {}, key ?? "—"),
        h("td", {}, oid, h("span", { class: "hint" }, ` ${KINDS[KIND_OF_OID[oid] ?? "unknown"]}`)),
        h("td", {}, french(from) ?? "—"), h("td", {}, french(to) ?? "—")))));
}

function traceDetails(trace, receipt) {
  const { attempts, software, user, professional, structure, context } = trace;
  const seconds = (ms) => `${(ms / 1000).toLocaleString("fr-FR", { maximumFractionDigits: 1 })} s`;
  return h("details", { class: "trace" },
    h("summary", {}, `Trace n° ${trace.seq}`, h("span", { class: "hint" },
      ` ${trace.operation}, ${attempts.length} ${attempts.length > 1 ? "essais" : "essai"}, ${seconds(trace.durationMs)}, ${receipt.short}`)),
    h("p", { class: receipt.state === "valid" ? null : "notice bad", id: "receipt", "data-state": receipt.state }, receipt.words),
    h("dl", {},
      entry("Opération", trace.operation),
      entry("Le", new Date(trace.at).toLocaleString("fr-FR")),
      entry("Mode", MODES[trace.authMode] ?? trace.authMode),
      entry("Environnement", trace.environment),
      entry("Professionnel", professional?.nationalId),
      entry("Structure", structure),
      entry("Utilisateur déclaré", user?.id),
      entry("Contexte", CONTEXTS[context]),
      entry("Logiciel autorisé", `${software.name} ${software.version}`),
      entry("Site", trace.origin),
      entry("Identifiant", trace.id),
      entry("Empreinte de la demande", trace.requestSha256),
      entry("Empreinte de la réponse", trace.responseSha256),
      entry("Maillon précédent", trace.previous),
      entry("Clé du reçu (kid)", receipt.kid)),
    h("table", {},
      h("caption", {}, "Essais"),
      h("thead", {}, h("tr", {}, ["N°", "Code", "Envoyé", "Durée", "Message"].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, attempts.map(({ code, given, durationMs, messageId }, index) =>
        h("tr", {}, [index + 1, h("code", {}, code), given.map(memberSent).join(", "), seconds(durationMs), messageId].map((cell) => h("td", {}, cell)))))));
}

/** Check the receipt, and say honestly what that is worth on this side. */
async function receiptWords(result, challenge) {
  const { state, kid, payload } = await verifyReceipt(result.receipt, agent.hello?.receiptKey ?? {});
  const { receipt: _receipt, comparison: _comparison, replayed: _replayed, ...claimed } = result;
  const faithful = state === "valid" && payload.challenge === challenge
    && Object.entries(claimed).every(([name, value]) => alike(payload[name], value));
  if (state === "unsupported") {
    return { state, kid, short: "reçu non vérifié", words: "Ce navigateur ne sait pas vérifier la signature du reçu (Ed25519) ; le serveur de l'application le fera." };
  }
  if (!faithful) {
    return { state: "invalid", kid, short: "REÇU NON VALIDE", words: "Reçu non valide : ne pas se fier à ce résultat, et prévenir le support." };
  }
  return { state, kid, short: "reçu vérifié", words: "Reçu vérifié avec la clé annoncée par l'agent : la réponse n'a pas été altérée. "
    + "Cela ne prouve pas quelle installation l'a faite : seul le serveur de l'application, qui connaît d'avance l'empreinte de cette clé, peut s'y fier." };
}

/** The same JSON value, whatever the order of members. */
function alike(one, other) {
  if (typeof one !== "object" || typeof other !== "object" || !one || !other) return one === other;
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].every((name) => alike(one[name], other[name]));
}

// ---------------------------------------------------------------- writing

const GIVEN_NAME = /^givenNames\[(\d+)\]$/;

/** "givenNames[1]" as "prénom 2". */
function memberSent(name) {
  const [, given] = GIVEN_NAME.exec(name) ?? [];
  return given ? `prénom ${Number(given) + 1}` : MEMBERS[name] ?? name;
}

function entry(term, value) {
  return value ? h("div", {}, h("dt", {}, term), h("dd", {}, value)) : null;
}

/** In the largest unit of which there are two or more. */
function duration(seconds) {
  const [unit, size] = [["heures", 3600], ["minutes", 60]].find(([, size]) => seconds >= 2 * size) ?? ["secondes", 1];
  return `${Math.ceil(seconds / size)} ${unit}`;
}

/** 1977-00-00 as 00/00/1977: a birth date is a text, not a day of a calendar (S063). */
function french(date) {
  return date?.replace(/^(\d{4})-(\d{2})-(\d{2})$/, "$3/$2/$1");
}

/** A number in its usual groups; the blanks are only drawn, so that a copy has none. */
function grouped(matricule) {
  return h("span", { class: "grouped" }, (/^(.)(..)(..)(..)(...)(...)$/.exec(matricule)?.slice(1) ?? [matricule]).map((group) => h("span", {}, group)));
}

start();
