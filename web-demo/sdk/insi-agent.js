// Talk to INSi Agent from a web page: find it, converse, understand its errors. MIT licence.
//
// One plain ES module without dependency or build: copy this file. It obeys the agent's protocol,
// API level 1. The page must be served over https (or from this machine), its origin must be allowed in
// the agent, or by the person when asked, and its CSP must hold `connect-src http://127.0.0.1:* ws://127.0.0.1:*`.
// Oldest browsers: Chrome and Edge 116, Firefox 124, Safari 17.4 (AbortSignal.any).

export const VERSION = "1.1.0";
export const DEFAULT_PORTS = [19847, 19848, 19849, 19850];
export const SECURE_PORTS = [19857, 19858, 19859, 19860]; // for wss, where the agent has a certificate of its own

const API_LEVELS = [1];
const SUBPROTOCOL = "insi-agent.v1";
const PERMISSIONS = ["loopback-network", "local-network-access"]; // one right, by its present name and its first
const ANSWER_MS = 2_000; // an agent that runs answers on the loopback in milliseconds
const PERSON_MS = 120_000; // a person reads the browser's question; one who said no is left in peace as long
const ASKING_MS = 1_000; // no answer after this while the permission is "prompt": the browser is asking
const LONGEST_PAUSE_MS = 15_000; // between two attempts to find the agent
const FOREVER_MS = 2 ** 31 - 1; // the longest that a timer takes

// ---------------------------------------------------------------- errors

// What the agent cannot say itself. Same shape as its own catalogue: audience, retryable, message, action.
export const LOCAL_REASONS = {
  "agent.absent": row("person", true,
    "L'agent n'a pas été trouvé sur ce poste.", "The agent was not found on this workstation.",
    "Démarrer INSi Agent. S'il n'est pas installé, demander à l'informatique.", "Start INSi Agent. If it is not installed, ask IT."),
  "agent.refused": row("it", true,
    "Un programme répond sur ce poste, mais il refuse ce site.", "A program answers on this workstation but refuses this site.",
    "Si vous l'avez refusé : icône d'INSi Agent, « Sites autorisés… ». Sinon, demander à l'informatique d'autoriser ce site.",
    "If you refused it: INSi Agent's icon, « Sites autorisés… ». Otherwise ask IT to allow this site."),
  "agent.version": row("it", false,
    "L'agent et cette page n'ont pas de version en commun.", "The agent and this page have no version in common.",
    "Mettre INSi Agent à jour.", "Update INSi Agent."),
  "agent.lost": row("person", true,
    "La liaison avec l'agent a été coupée ; la demande a peut-être abouti.", "The link to the agent was cut; the request may have happened.",
    "Attendre le retour de l'agent et refaire la même demande.", "Wait until the agent is back and repeat the same request."),
  "browser.pending": row("person", true,
    "Le navigateur demande si ce site peut joindre INSi Agent.", "The browser asks whether this site may reach INSi Agent.",
    "Choisir « Autoriser » dans la question du navigateur, en haut de la page. Si aucune question n'est affichée, redémarrer INSi Agent.",
    "Choose \"Allow\" in the browser's question, at the top of the page. If no question is shown, restart INSi Agent."),
  "browser.denied": row("person", true,
    "Le navigateur interdit à ce site de joindre l'agent.", "The browser forbids this site to reach the agent.",
    "Ouvrir les autorisations du site (à gauche de l'adresse) et autoriser l'accès aux applications de cet appareil.",
    "Open the site's permissions (left of the address) and allow access to apps on this device."),
  "browser.frame": row("developer", false,
    "Cette page est dans un cadre qui n'a pas le droit de joindre l'agent.", "This page is in a frame that may not reach the agent.",
    "Ajouter allow=\"loopback-network; local-network-access\" à l'iframe.", "Add allow=\"loopback-network; local-network-access\" to the iframe."),
  "browser.policy": row("developer", false,
    "L'en-tête Permissions-Policy de cette page lui interdit de joindre l'agent.", "This page's Permissions-Policy header forbids it to reach the agent.",
    "Retirer loopback-network=() et local-network-access=() de cet en-tête.", "Remove loopback-network=() and local-network-access=() from that header."),
  "browser.csp": row("developer", false,
    "La politique de sécurité de la page (CSP) interdit de joindre l'agent.", "The page's security policy (CSP) forbids reaching the agent.",
    "Ajouter http://127.0.0.1:* et ws://127.0.0.1:* à connect-src (avec l'option secure : aussi https://localhost:* et wss://localhost:*).",
    "Add http://127.0.0.1:* and ws://127.0.0.1:* to connect-src (with the option secure also https://localhost:* and wss://localhost:*)."),
  "browser.insecure": row("developer", false,
    "Cette page n'est pas servie en https : elle ne peut pas joindre l'agent.", "This page is not served over https: it cannot reach the agent.",
    "Servir la page en https.", "Serve the page over https."),
  "origin.pending": row("person", true,
    "Ce site attend votre accord.", "This site waits for your consent.",
    "Répondre à la question d'INSi Agent.", "Answer INSi Agent's question."),
  "origin.denied": row("person", true,
    "INSi Agent n'a pas reçu votre accord pour ce site.", "INSi Agent did not get your consent to this site.",
    "Pour changer d'avis : icône d'INSi Agent, « Sites autorisés… ».", "To change your mind: INSi Agent's icon, « Sites autorisés… »."),
  "operation.cancelled": row("person", true,
    "La demande a été annulée.", "The request was cancelled.",
    "Relancer la demande si besoin.", "Start again if needed."),
  "page.challenge": row("developer", true,
    "Le serveur de cette application n'a pas donné le défi que l'agent doit signer.", "This application's server did not give the challenge that the agent has to sign.",
    "Réessayer. Si cela se répète, prévenir l'éditeur de l'application.", "Try again. If it happens again, tell the application's editor."),
  "request.invalid": row("developer", false,
    "L'agent ne comprend pas cette demande.", "The agent does not understand this request.",
    "Comparer la demande au protocole de l'agent.", "Compare the request with the agent's protocol."),
};

function row(audience, retryable, fr, en, actionFr, actionEn) {
  return { audience, retryable, message: { fr, en }, action: { fr: actionFr, en: actionEn } };
}

/** Anything that went wrong: `reason` is the stable name, `message` and `action` are sentences for people. */
export class AgentError extends Error {
  constructor(data, lang = "fr") {
    super(data.message[lang] ?? data.message.fr);
    this.name = "AgentError";
    this.reason = data.reason;
    this.action = data.action[lang] ?? data.action.fr;
    this.audience = data.audience; // person | it | developer | support
    this.retryable = data.retryable;
    this.facts = data.facts ?? {};
  }

  /** An error of this module, by its name in LOCAL_REASONS. */
  static local(reason, lang, facts) {
    return new AgentError({ reason, ...LOCAL_REASONS[reason], facts }, lang);
  }
}

// ---------------------------------------------------------------- discovery

/** The browser's permission to reach this machine: a live PermissionStatus, or null where there is none to ask. */
export async function permission() {
  for (const name of PERMISSIONS) {
    try {
      return await navigator.permissions.query({ name });
    } catch {
      // A TypeError: this browser has no such name. They differ by browser and version.
    }
  }
  return null;
}

let cspBlocked = false;
globalThis.document?.addEventListener("securitypolicyviolation", (event) => {
  cspBlocked ||= /^((http|ws):\/\/127\.0\.0\.1|wss:\/\/localhost|https:\/\/localhost:\d+\/\.well-known\/insi-agent)\b/.test(event.blockedURI);
});

/**
 * Ask every port at once. `{state: "found", port, product, version, api, instanceId}`, `{state: "refused", ports}`
 * or `{state: "absent"}`. A page sees no reason for a failed request, hence the second, opaque one: if that gets
 * through, someone is there who does not name itself to this site. Both leave together: the browser asks once.
 * `secure`: the ports are those of https and wss.
 */
export async function discover({ ports = DEFAULT_PORTS, secure = false, timeoutMs = ANSWER_MS, signal } = {}) {
  const get = (port, mode) =>
    fetch(`${secure ? "https://localhost" : "http://127.0.0.1"}:${port}/.well-known/insi-agent`, {
      mode, cache: "no-store", credentials: "omit", signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])]),
    });
  const ask = async (port) => {
    const about = await (await get(port, "cors")).json();
    if (!Array.isArray(about.api)) throw new TypeError("another program");
    return { state: "found", port, ...about };
  };
  const opaque = Promise.allSettled(ports.map((port) => get(port, "no-cors")));
  try {
    return await Promise.any(ports.map(ask));
  } catch {
    const answers = await opaque;
    const answered = ports.filter((_port, index) => answers[index].status === "fulfilled");
    return answered.length ? { state: "refused", ports: answered } : { state: "absent" };
  }
}

// ---------------------------------------------------------------- conversation

/**
 * Find the agent and stay connected to it, for as long as the page lives.
 *
 * `client` is `{name, version}` of the application; `challenge` is base64url text, or a function that
 * fetches a fresh one from the application's server before each hello. `secure`: where nothing is found, look on
 * SECURE_PORTS too, over https and wss; needs `insi-agent wss` and `https://localhost:* wss://localhost:*` in the CSP.
 */
export function connect(options) {
  return new Agent(options);
}

class Agent extends EventTarget {
  /** searching | waitingForBrowser | waitingForPerson | connected | refused | absent */
  state = "searching";
  /** The AgentError behind every state but searching and connected: what is the matter, and what to do. */
  error = null;
  /** What the agent said of itself; kept up to date by agent.changed. */
  hello = null;

  #options;
  #socket = null;
  #pending = new Map(); // request id → {resolve, reject, onProgress}
  #consent = null; // {resolve, reject} while the person is asked about this site
  #lastId = 0;
  #asked = false; // the browser has asked the person at least once
  #denied = false; // the person wants this site not to talk to the agent
  #left = new AbortController(); // by close()
  #wake = () => {};

  constructor({ client, lang = "fr", challenge, ports = DEFAULT_PORTS, secure = false, securePorts = secure ? SECURE_PORTS : [] }) {
    super();
    this.#options = { client, lang, challenge, ports, securePorts };
    this.#run();
  }

  /** Call `handler` with the params of a notification, or with the new state for "state". Returns the way to stop. */
  on(event, handler) {
    const listener = ({ detail }) => handler(detail);
    this.addEventListener(event, listener);
    return () => this.removeEventListener(event, listener);
  }

  /**
   * The result of a method, or an AgentError. `onProgress({step, needs})` is called on the way;
   * aborting `signal` cancels the operation in the agent, which then answers operation.cancelled.
   */
  call(method, params = {}, { onProgress, signal } = {}) {
    if (this.state !== "connected") return Promise.reject(this.error ?? this.#local("agent.absent"));
    if (signal?.aborted) return Promise.reject(this.#local("operation.cancelled"));
    return this.#request(method, params, onProgress, signal);
  }

  /** Look for the agent now instead of at the end of the pause. */
  retry() {
    this.#wake();
  }

  /** Leave for good. */
  close() {
    this.#left.abort();
    this.#socket?.close(1000);
    this.#wake();
  }

  async #run() {
    const left = this.#left.signal;
    const allowed = await permission();
    let stale = new AbortController();
    allowed?.addEventListener("change", () => {
      stale.abort(); // an attempt begun under the old answer may stay pending for ever
      this.#wake();
    }, { signal: left });
    // The browser's question was closed without an answer: looking again would put it back on screen.
    const dismissed = () => allowed?.state === "prompt" && this.error?.reason === "browser.denied";
    const wake = () => dismissed() || this.#wake();
    globalThis.addEventListener("online", wake, { signal: left });
    globalThis.document?.addEventListener("visibilitychange", () => document.hidden || wake(), { signal: left });
    let pause = ASKING_MS;
    while (!left.aborted) {
      const until = Date.now() + PERSON_MS;
      stale = new AbortController();
      try {
        const found = await this.#find(allowed, AbortSignal.any([stale.signal, left]));
        await this.#enter(found, left);
        pause = ASKING_MS;
        await this.#ended();
      } catch (error) {
        this.#socket?.close();
        const unanswered = this.state === "waitingForBrowser" && allowed.state === "prompt" && Date.now() >= until;
        if (stale.signal.aborted || unanswered) continue;
        const matter = await this.#explain(error, allowed);
        if (left.aborted) return;
        if (matter.reason === "agent.lost") this.#become("searching");
        else this.#become(matter.reason === "agent.absent" ? "absent" : "refused", matter);
      }
      if (left.aborted) return;
      await this.#sleep(dismissed() ? FOREVER_MS : this.#denied ? PERSON_MS : pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
  }

  /** Discovery. Never "absent" while the person has not answered the browser; a page of this machine is not asked at all. */
  async #find(allowed, signal) {
    if (globalThis.isSecureContext === false) throw this.#local("browser.insecure"); // no browser need ask for nothing
    const asking = setTimeout(() => {
      if (signal.aborted || allowed?.state !== "prompt") return;
      this.#asked = true;
      this.#become("waitingForBrowser", this.#local("browser.pending"));
    }, ASKING_MS);
    const { ports, securePorts } = this.#options;
    const timeoutMs = allowed?.state === "prompt" ? PERSON_MS : ANSWER_MS;
    try {
      const found = await discover({ ports, timeoutMs, signal });
      if (found.state !== "absent" || !securePorts.length || signal.aborted) return found;
      return { ...await discover({ ports: securePorts, secure: true, timeoutMs, signal }), secure: true };
    } finally {
      clearTimeout(asking);
    }
  }

  /** Socket and hello; a site that is not allowed yet waits for the person. Throws an AgentError, or what the browser throws. */
  async #enter({ state, api = API_LEVELS, port, ports = [port], secure }, left) {
    if (state === "absent") throw this.#local("agent.absent");
    if (!api.some((level) => API_LEVELS.includes(level))) throw this.#local("agent.version");
    await this.#dial(ports.map((one) => `${secure ? "wss://localhost" : "ws://127.0.0.1"}:${one}/`), left);
    let hello = await this.#greet();
    this.#denied = false;
    while (hello.originState === "pending") {
      this.#become("waitingForPerson", this.#local("origin.pending"));
      await new Promise((resolve, reject) => { this.#consent = { resolve, reject }; });
      hello = await this.#greet(); // what a site that waits is not told: the identity, the receipts' key, the proof
    }
    this.hello = hello;
    this.#become("connected");
  }

  /** Open a socket at the first of these addresses that takes this site. */
  async #dial(addresses, left) {
    for (const address of addresses) {
      left.throwIfAborted();
      const socket = new WebSocket(address, SUBPROTOCOL);
      this.#socket = socket;
      const open = await new Promise((resolve) => {
        setTimeout(resolve, ANSWER_MS, false);
        socket.onopen = () => resolve(true);
        socket.onclose = () => resolve(false); // a refusal before the conversation is only ever close 1006 here
      });
      if (open) {
        socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
        socket.onclose = ({ code }) => this.#lose(code);
        return;
      }
      socket.close();
    }
    throw this.#local("agent.refused");
  }

  async #greet() {
    const { client, lang, challenge } = this.#options;
    const hello = { apiLevels: API_LEVELS, client, lang };
    try {
      if (challenge) hello.challenge = typeof challenge === "function" ? await challenge() : challenge;
    } catch (cause) {
      throw Object.assign(this.#local("page.challenge"), { cause });
    }
    return this.#request("agent.hello", hello); // the link may have been lost meanwhile
  }

  #ended() {
    const socket = this.#socket;
    if (socket.readyState === WebSocket.CLOSED) return Promise.resolve();
    return new Promise((resolve) => socket.addEventListener("close", resolve, { once: true }));
  }

  /** The most useful AgentError for a failure that the browser itself does not explain to scripts. */
  async #explain(error, allowed) {
    await new Promise((resolve) => setTimeout(resolve)); // the CSP event comes in its own task
    const known = error instanceof AgentError ? error : this.#local("agent.absent");
    if (this.#denied && ["agent.lost", "agent.refused"].includes(known.reason)) return this.#local("origin.denied");
    if (cspBlocked && ["agent.absent", "agent.refused"].includes(known.reason)) return this.#local("browser.csp");
    const closed = this.state === "waitingForBrowser" && allowed.state === "prompt";
    if (known.reason !== "agent.absent" || !(allowed?.state === "denied" || closed)) return known;
    if (this.#mayAsk()) return this.#local("browser.denied");
    return this.#local(globalThis.top === globalThis.self ? "browser.policy" : "browser.frame");
  }

  /** Whether this page has the right to have the person asked: a frame must be given it, a header may take it from any. */
  #mayAsk() {
    if (this.#asked || !globalThis.top) return true;
    const policy = document.featurePolicy; // only Chromium has it: elsewhere frames are taken for frames without the right
    const known = PERMISSIONS.find((name) => policy?.features().includes(name));
    return known ? policy.allowsFeature(known) : globalThis.top === globalThis.self;
  }

  #request(method, params, onProgress, signal) {
    if (this.#socket.readyState !== WebSocket.OPEN) return Promise.reject(this.#local("agent.lost")); // no close event will come
    const id = ++this.#lastId;
    const cancel = () => this.#request("operation.cancel", { id }).catch(() => {}); // the operation itself will say
    const answer = new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject, onProgress }));
    signal?.addEventListener("abort", cancel, { once: true });
    this.#socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    return answer.finally(() => signal?.removeEventListener("abort", cancel));
  }

  #receive({ id, method, params, result, error }) {
    if (method === "operation.progress") {
      this.#pending.get(params.id)?.onProgress?.(params);
    } else if (method) {
      if (method === "agent.changed") this.#change(params);
      if (this.hello) this.#emit(method, params);
    } else if (this.#pending.has(id)) {
      const { resolve, reject } = this.#pending.get(id);
      this.#pending.delete(id);
      if (error) reject(this.#understand(error));
      else resolve(result);
    }
  }

  #change(params) {
    if (params.originState === "denied") {
      this.#denied = true;
      this.#become("refused", this.#local("origin.denied"));
      this.#consent?.reject(this.error);
    } else if (this.hello) {
      this.hello = { ...this.hello, ...params };
    } else {
      this.#consent?.resolve();
    }
  }

  #understand({ code, message, data }) {
    if (data?.reason) return new AgentError(data, this.#options.lang);
    return this.#local("request.invalid", { rpcCode: code, rpcMessage: message });
  }

  #lose(code) {
    if (this.state === "connected") this.#become("searching"); // first, so that nobody calls a dead socket
    const error = this.#local(code === 4003 ? "agent.version" : "agent.lost");
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    this.#consent?.reject(error);
    this.#consent = null;
  }

  #become(state, error = null) {
    if (state === this.state && error?.reason === this.error?.reason) return;
    this.state = state;
    this.error = error;
    if (state !== "connected") this.hello = null;
    this.#emit("state", state);
  }

  #emit(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }

  #sleep(ms) {
    return new Promise((resolve) => {
      const end = setTimeout(resolve, ms);
      this.#wake = () => resolve(clearTimeout(end));
    });
  }

  #local(reason, facts) {
    return AgentError.local(reason, this.#options.lang, facts);
  }
}

// ---------------------------------------------------------------- receipts

/**
 * Whether `receipt` was signed by `jwk`: `{state: "valid" | "invalid" | "unsupported", kid, payload}`.
 *
 * With the key of hello this only shows that the answer was not damaged. To rely on a receipt, the
 * application's server checks it against a thumbprint that it has enrolled beforehand.
 */
export async function verifyReceipt(receipt, jwk) {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const utf8 = new TextEncoder();
  try {
    const [head, body, signature, ...rest] = receipt.split(".");
    const [header, payload] = [head, body].map((part) => JSON.parse(new TextDecoder().decode(bytes(part))));
    const kid = await thumbprint(jwk);
    if (rest.length || header.alg !== "EdDSA" || header.kid !== kid) return { state: "invalid", kid, payload };
    const { kty, crv, x } = jwk;
    const key = await crypto.subtle.importKey("jwk", { kty, crv, x }, { name: "Ed25519" }, false, ["verify"]);
    const good = await crypto.subtle.verify("Ed25519", key, bytes(signature), utf8.encode(`${head}.${body}`));
    return { state: good ? "valid" : "invalid", kid, payload };
  } catch (error) {
    return { state: error.name === "NotSupportedError" ? "unsupported" : "invalid" };
  }
}

/** RFC 7638 thumbprint of an Ed25519 key: the `kid` of its receipts. */
export async function thumbprint({ crv, kty, x }) {
  return base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify({ crv, kty, x }))));
}

/** base64url without padding. */
export function base64url(buffer) {
  const text = btoa(String.fromCharCode(...new Uint8Array(buffer)));
  return text.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
